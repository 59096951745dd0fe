"""A checkout of transformers of another release than any that is installed: its masks, and its commit in the result."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cli.command import harness
from tests.verification.environments.test_source import git

RELEASE = "5.12.1"
"""The last that lets images see each other on full layers; it imports httpx, on which later ones do not depend."""


@pytest.mark.slow
@pytest.mark.engine
def test_a_checkout_refers_with_its_own_masks_and_says_its_commit(tmp_path: Path) -> None:
    """Needs a package index: the release's source, and what it depends on."""
    get = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "transformers"]
    subprocess.run([*get, "--dest", str(tmp_path), f"transformers=={RELEASE}"], check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    tree = tmp_path / f"transformers-{RELEASE}"
    git(tree, "init", "-q")
    git(tree, "add", "src")
    git(tree, "commit", "-q", "-m", RELEASE)
    done = harness(
        "run", "--layout", "t3 i5 t4 i12 t3", "--runner", "v1", "--reference-source", str(tree), "--format", "json"
    )
    assert done.code == 1, done.err
    result = json.loads(done.out)
    assert result["versions"]["transformers"].startswith(f"{RELEASE}+g")
    assert [layer["reference_policy"] for layer in result["layers"]] == ["unclamped", "everywhere"]
    assert result["at_fault"] == "reference"
