"""A driver that starts in a moment: it does what it is asked to over the real channel.

Run as ``PYTHON -m tests.drivers.parent READ_FD WRITE_FD``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.drivers import channel
from harness.drivers.messages import Done, Request
from harness.errors import OverlayRefused, UsageError


@dataclass(frozen=True)
class Started:
    pid: int


@dataclass(frozen=True)
class Said:
    text: str


@dataclass(frozen=True)
class Spilt:
    place: Path


@dataclass(frozen=True)
class Child(Request[Started]):
    """Start a child that would live for a minute."""


@dataclass(frozen=True)
class Die(Request[Done]):
    signal: str


@dataclass(frozen=True)
class Leave(Request[Done]):
    code: int


@dataclass(frozen=True)
class Say(Request[Said]):
    text: str


@dataclass(frozen=True)
class Fail(Request[Done]):
    """Fail as nobody foresaw, with a ``ValueError`` if ``badly``."""

    badly: bool = False


@dataclass(frozen=True)
class Refuse(Request[Done]):
    """Find the input bad, or an overlay."""

    overlay: bool = False


@dataclass(frozen=True)
class Finish(Request[Spilt]):
    """Answer when a file of this name is there, and with a failure if it has something in it."""

    path: Path


@dataclass(frozen=True)
class Rest(Request[Done]):
    seconds: float


@dataclass(frozen=True)
class Hang(Request[Done]):
    """Do nothing for a minute."""


@dataclass(frozen=True)
class Hold(Request[Done]):
    """Compute for a minute without giving another thread a turn, as a kernel may."""


@dataclass(frozen=True)
class Stop(Request[Done]):
    """Be stopped."""


@dataclass(frozen=True)
class Spill(Request[Spilt]):
    """Leave files where temporary ones go, and print a line of ``wide`` letters and ``lines`` short ones."""

    wide: int = 0
    lines: int = 0


def child(request: Child) -> Started:
    return Started(subprocess.Popen(["sleep", "60"]).pid)


def die(request: Die) -> None:
    os.kill(os.getpid(), getattr(signal, request.signal))
    time.sleep(60)


def leave(request: Leave) -> None:
    os._exit(request.code)


def say(request: Say) -> Said:
    print(request.text)
    return Said(request.text)


def fail(request: Fail) -> None:
    raise ValueError("a value of no use") if request.badly else LookupError("nothing of the kind")


def refuse(request: Refuse) -> None:
    raise OverlayRefused("it does not fit") if request.overlay else UsageError("layout", "x5", "something else")


def finish(request: Finish) -> channel.Later[Spilt]:
    def wait() -> None:
        while not request.path.exists():
            time.sleep(0.01)
        if request.path.read_text():
            raise LookupError(request.path.read_text())

    return channel.Later(Spilt(request.path), wait)


def rest(request: Rest) -> Done:
    time.sleep(request.seconds)
    return Done()


def hang(request: Hang) -> None:
    print("hanging")
    time.sleep(60)


def hold(request: Hold) -> None:
    print("hanging", flush=True)
    ctypes.PyDLL(None).sleep(60)


def stop(request: Stop) -> None:
    print("hanging", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def spill(request: Spill) -> Spilt:
    place = Path(tempfile.mkdtemp(prefix="torchinductor_"))
    (place / "kernel").touch()
    print("x" * request.wide)
    for number in range(request.lines):
        print("\x1b[1;36mline\x1b[0m", number)
    return Spilt(place)


HANDLERS = {
    Child: child, Die: die, Leave: leave, Say: say, Fail: fail, Refuse: refuse, Finish: finish, Rest: rest, Hang: hang, Hold: hold,
    Stop: stop, Spill: spill,
}  # fmt: skip


def main() -> None:
    channel.serve(HANDLERS, int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    from tests.drivers import parent

    parent.main()  # of the module by its name, where the types of its messages are found
