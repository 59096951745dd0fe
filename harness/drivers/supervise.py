"""Processes that end with the one that started them, in whatever way that ends.

``python -m harness.drivers.supervise HARNESS_PID BOUND MODULE READ_FD WRITE_FD`` runs a driver module. A process beside it, its
guard, does nothing but watch: it ends the driver and all that the driver started when the harness or the driver is no more,
also where the driver is stopped or computes without giving Python a turn. If ``BOUND`` is 1 the kernel ends the driver as
`die_with` says, and with that wakes the guard, should that be stopped too.
"""

import ctypes
import os
import runpy
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
WATCH = 0.2
"""Seconds between two looks of a guard."""


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread of ``parent`` that started it ends; now, if ``parent`` has ended."""
    _when_the_parent_ends(signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def guard(harness: int) -> None:
    """Fork a guard of this process and its group, whose leader it is; ``harness`` has started it."""
    driver = os.getpid()
    if os.fork():
        return
    os.setsid()
    try:
        _when_the_parent_ends(signal.SIGCONT)
        _let_go()
        while os.getppid() == driver and parent_of(driver) == harness:
            time.sleep(WATCH)
        os.killpg(driver, signal.SIGKILL)
    finally:
        os._exit(0)


def parent_of(pid: int) -> int | None:
    """The process that ``pid`` is a child of; none if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def _when_the_parent_ends(number: int) -> None:
    """Let the kernel send this process a signal when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _let_go() -> None:
    """Close what a guard was born with: the driver's ends of the channel would look open as long as it lives."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


if __name__ == "__main__":
    harness, bound, module = int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3]
    guard(harness)
    if bound:
        die_with(harness)
    sys.argv = [module, *sys.argv[4:]]
    runpy.run_module(module, run_name="__main__")
    sys.stdout.flush()
    sys.stderr.flush()
    os.killpg(os.getpid(), signal.SIGKILL)
