"""`harness watch`: a fault that is saved into a source tree is seen, and so is that it is gone; Ctrl-C leaves nothing behind."""

import json
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from tests.verification.environments.test_source import git

KERNEL = "vllm/v1/attention/ops/triton_attention_helpers.py"
RIGHT, WRONG = "is_valid = range_start < range_end", "is_valid = range_start + 5 < range_end"
"""An image of five tokens is left causal."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout of the Python files of the vLLM that is installed."""
    spec = util.find_spec("vllm")
    assert spec and spec.submodule_search_locations
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(spec.submodule_search_locations[0], tree / "vllm", ignore=left_out)
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "as it is")
    return tree


@pytest.mark.slow
@pytest.mark.engine
def test_a_fault_that_is_saved_is_seen_and_the_reference_is_asked_once(tree: Path) -> None:
    """Needs a package index, unless the environment of the release is made already."""
    kernel = tree / KERNEL
    text = kernel.read_text(encoding="utf-8")
    assert RIGHT in text
    words = ["watch", "--serving-source", str(tree), "--runner", "v1", "--times", "3", "--format", "json"]
    command = [sys.executable, "-m", "harness", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        seen = [json.loads(watching.stdout.readline())]
        for content in (text.replace(RIGHT, WRONG, 1), text):
            kernel.write_text(content, encoding="utf-8")
            seen.append(json.loads(watching.stdout.readline()))
    assert watching.returncode == 0
    assert [[one["verdict"] for one in each["results"]] for each in seen] == [["PASS"], ["DIVERGED"], ["PASS"]]
    assert [each["changed"] for each in seen] == [[], [KERNEL], [KERNEL]]
    versions = [each["results"][0]["versions"]["vllm"] for each in seen]
    assert versions[1] == f"{versions[0]}.dirty"
    assert versions[2] == versions[0]
    (layer, _) = seen[1]["results"][0]["layers"]
    assert (layer["missing"], layer["extra"]) == (10, 0)
