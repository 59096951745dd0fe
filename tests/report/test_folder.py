"""A folder is found good, and is one process's own, before anything is written into it."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from harness.errors import UsageError
from harness.report.folder import claimed

HOLD = """
import sys, time
from pathlib import Path
from harness.report.folder import claimed
with claimed("out", Path(sys.argv[1])):
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_it_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    with claimed("out", tmp_path / "new" / "one") as folder:
        assert folder.is_dir()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file", "a folder, not a file"),
        ("file/below", r"a folder that can be written to \(Not a directory\)"),
        ("dangling", "a folder, not a file"),
        ("/proc/here", r"a folder that can be written to \(No such file or directory\)"),
        ("/proc/self", r"a folder that can be written to \("),
        ("x" * 300, r"a folder that can be written to \(File name too long\)"),
    ],
)
def test_what_cannot_be_written_to_is_named(tmp_path: Path, place: str, why: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=f"^html: .*{why}"), claimed("html", tmp_path / place):
        pass


def test_a_place_without_room_is_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UsageError, match="a folder that can be written to"), claimed("out", tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_another_process_is_refused_until_the_first_ends_in_whatever_way(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "claimed\n"
    with pytest.raises(UsageError, match=rf"process {first.pid} does"), claimed("out", tmp_path):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with claimed("out", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_one_process_may_claim_it_twice(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "one")
    with claimed("html", tmp_path / "one"), claimed("keep", tmp_path / "link"):
        pass
    with claimed("out", tmp_path / "one"):
        pass
