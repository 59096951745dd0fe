"""Processes of the tests, and which there are."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.drivers.process import ROOT, SITE
from harness.drivers.signals import ASKED


def printed(module: str, *arguments: str) -> str:
    """The last line that a module of the tests prints, run as a driver is: where transformers and vLLM can be imported."""
    command, environment = [sys.executable, "-m", module, *arguments], {"PATH": "", "PYTHONPATH": f"{SITE}:{ROOT}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def interruptible() -> None:
    """For `preexec_fn`: a child takes these signals, also where the tests run in the background of a shell, which ignores
    SIGINT, or under nohup, which ignores SIGHUP."""
    for number in ASKED:
        signal.signal(number, signal.SIG_DFL)


def lives(pid: int) -> bool:
    """It runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_group(group: int) -> list[int]:
    """The living members of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and lives(int(entry.name)):
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == group:
                members.append(int(entry.name))
    return members


def marked(name: str, value: str) -> list[int]:
    """The living processes that were started with this variable in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and lives(int(entry.name)):
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"{name}={value}".encode() in environment:
                found.append(int(entry.name))
    return found


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether ``holds`` comes true in that time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
