"""What an interpreter can do for a side is tried in it, and what fails is told by its root."""

import json
import os
import subprocess
import sys
from pathlib import Path

from harness.drivers.process import ROOT
from harness.verification.trial import root


def tried(side: str, first_on_path: Path) -> dict:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(first_on_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "harness.verification.trial", side], capture_output=True, text=True, env=env, check=True
    )
    return json.loads(done.stdout)


def distribution(folder: Path, name: str, version: str) -> None:
    """What pip leaves of an installed distribution."""
    described = folder / f"{name}-{version}.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_an_import_that_fails_is_told_by_its_root(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch is broken [here]')")
    assert tried("reference", tmp_path)["failed"] == "RuntimeError: torch is broken [here]"


def test_a_version_that_another_distribution_does_not_accept_is_named(tmp_path: Path) -> None:
    distribution(tmp_path, "tokenizers", "0.1.0")
    misfits = tried("reference", tmp_path)["misfits"]
    assert {"0.1.0"} == {misfit["installed"] for misfit in misfits}
    assert any(
        misfit["wants"].startswith("tokenizers") and misfit["by"].startswith("transformers ") for misfit in misfits
    )


def test_the_root_of_a_chain_of_exceptions() -> None:
    error = ImportError("second")
    error.__cause__ = KeyError("first")
    assert root(error) == "KeyError: 'first'"
