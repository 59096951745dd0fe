"""A session's folder goes with it; where the session was killed, with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from harness.verification.workplace import LOCK, Workplace

SESSION = """
import sys
from harness.verification.workplace import Workplace
place = Workplace()
(place.folder("t") / "socket").touch()
print(place.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def session() -> tuple[subprocess.Popen, Path]:
    """Another process that has a folder until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", SESSION],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return process, Path(process.stdout.readline().strip())


def test_it_goes_when_it_is_closed(temporary: Path) -> None:
    place = Workplace()
    (place.folder("t") / "deep").mkdir()
    (place.path / "file").touch()
    place.close()
    place.close()
    assert list(temporary.iterdir()) == []


def test_one_that_was_killed_goes_with_the_next_and_one_that_lives_stays(temporary: Path) -> None:
    killed, left = session()
    living, used = session()
    killed.kill()
    killed.wait()
    os.utime(used, (0, 0))
    place = Workplace()
    assert set(temporary.iterdir()) == {used, place.path} and any(used.glob("t-*/socket"))
    place.close()
    living.communicate()
    assert set(temporary.iterdir()) == {used}
    assert not left.exists()
    Workplace().close()
    assert list(temporary.iterdir()) == []


def test_what_is_not_a_session_s_is_left_alone(temporary: Path) -> None:
    mine = temporary / "harness-notes"
    mine.mkdir()
    (mine / "lock").touch()
    (temporary / "harness-abc.log").touch()
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / LOCK).touch()
    (temporary / "harness-link").symlink_to(elsewhere)
    before = set(temporary.rglob("*"))
    Workplace().close()
    assert set(temporary.rglob("*")) == before


def test_a_link_in_it_is_removed_and_not_followed(temporary: Path) -> None:
    (temporary / "mine").mkdir()
    (temporary / "mine" / "file").touch()
    place = Workplace()
    (place.path / "link").symlink_to(temporary / "mine")
    place.close()
    assert (temporary / "mine" / "file").exists()


def test_one_whose_session_ended_before_it_could_lock_it_goes_with_the_next(temporary: Path) -> None:
    tempfile.mkdtemp(prefix="harness-")
    full = Path(tempfile.mkdtemp(prefix="harness-"))
    (full / "of somebody else").touch()
    (temporary / "harness-results").mkdir()
    (temporary / "harness-mine1234").mkdir(mode=0o755)
    Workplace().close()
    assert {path.name for path in temporary.iterdir()} == {full.name, "harness-results", "harness-mine1234"}
