"""One checkpoint is the same model to releases of transformers years apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.drivers.messages import Build
from harness.drivers.process import ROOT, SITE, Driver
from harness.families.gemma4.presets import PRESETS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

OLDER = ("tokenizers==0.22.1", "huggingface-hub==1.13.0")
"""What releases before 5.19 accept."""
RELEASES = {"5.5.0": OLDER, "5.14.1": OLDER, "5.24.0": ()}
MODELS = ("tiny", "tiny-audio", "26b-a4b-small", "e4b-small", "e2b-small")


def made_of(checkpoints: dict[str, str], *first: Path) -> list[dict]:
    paths = [*map(str, first), str(SITE), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    words = [f"{name}={directory}" for name, directory in checkpoints.items()]
    command = [sys.executable, "-P", str(Path(__file__).with_name("logits_of.py")), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, module_builder: Driver) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("cache")
    return {name: module_builder.ask(Build(PRESETS[name], cache), timeout=120).checkpoint for name in MODELS}


@pytest.fixture(scope="module")
def here(checkpoints: dict[str, str]) -> list[dict]:
    return made_of(checkpoints)


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_reads_it_whole_and_makes_the_same_of_it(
    release: str, checkpoints: dict[str, str], here: list[dict], tmp_path: Path
) -> None:
    packages = [f"transformers=={release}", *RELEASES[release]]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), *packages]
    subprocess.run(pip, check=True)
    found = made_of(checkpoints, tmp_path)
    assert {each["release"] for each in found} == {release}
    for each, there in zip(found, here, strict=True):
        assert each["wrong"] == there["wrong"] == []
        assert each["sums"] == pytest.approx(there["sums"], rel=1e-6)
