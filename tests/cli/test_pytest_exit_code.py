"""pytest ends as the command line does: 1 is a divergence and nothing else, 3 that something gave no answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.drivers.process import ROOT

TESTS = """
import os, sys, pytest
from harness.errors import DriverFailure
from tests.report.results import failed

@pytest.fixture
def broken(): raise OSError("no engine")

@pytest.fixture
def ends_badly():
    yield
    raise OSError("could not be closed")

def test_holds(): pass
def test_diverges(): assert False, "DIVERGED: layers 0 and 1 differ"
def test_differs(): assert 1 == 2
def test_no_answer(harness_expect): harness_expect([failed()])
def test_died(): raise DriverFailure("it died", stage="serving")
def test_unforeseen(): {}["text_config"]
def test_needs(broken): pass
def test_ends(ends_badly): pass
"""


def code_of(folder: Path, *words: str, text: str = TESTS) -> int:
    (folder / "test_here.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "-o",
        "harness_exit_codes=true",
        "-q",
        *words,
        "test_here.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120).returncode


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("holds", 0),
        ("diverges or differs", 1),
        ("no_answer", 3),
        ("died or diverges", 3),
        ("unforeseen", 3),
        ("needs", 3),
        ("ends", 3),
    ],
)
def test_it_says_what_failed(tmp_path: Path, names: str, code: int) -> None:
    assert code_of(tmp_path, "-k", names) == code


def test_what_failed_in_a_worker_counts_too(tmp_path: Path) -> None:
    assert code_of(tmp_path, "-n", "2") == 3


def test_tests_that_cannot_be_imported_are_no_divergence(tmp_path: Path) -> None:
    assert code_of(tmp_path, text="import plotly_that_is_not_there") == 3
