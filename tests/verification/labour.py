"""Work that processes of the tests do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.compare.result import CaseResult
from harness.errors import DriverFailure, EnvironmentFailure
from harness.prompts.case import Case
from harness.verification.machines import Packed
from harness.verification.pipeline import _compared


@contextmanager
def entered(number: int, left: Path) -> Iterator[int]:
    """Leave a file named after the process when it leaves."""
    yield number
    (left / str(os.getpid())).touch()


@contextmanager
def refused(number: int) -> Iterator[None]:
    raise EnvironmentFailure("no vllm here")
    yield


def pid(number: int) -> Iterator[int]:
    yield os.getpid()


def busy(number: int, seconds: float) -> Iterator[int]:
    """The process that was at it for so long."""
    time.sleep(seconds)
    yield os.getpid()


def read(number: int, packed: Packed, name: str) -> Iterator[tuple[str, str]]:
    """The text of a file in a folder, and where the folder is."""
    yield (packed.folder() / name).read_text(), str(packed.folder())


def counted(number: int, most: int) -> Iterator[int]:
    yield from range(most)


def die(number: int, how: int) -> Iterator[str]:
    yield "begun"
    os.kill(os.getpid(), how)
    time.sleep(60)


def leave(number: int) -> Iterator[None]:
    os._exit(7)
    yield


def sleep(number: int, folder: Path) -> Iterator[None]:
    (folder / str(os.getpid())).touch()
    time.sleep(60)
    yield


def stay(number: int) -> Iterator[int]:
    """The process, which then has nothing to say for a minute."""
    yield os.getpid()
    time.sleep(60)


def fail(number: int) -> Iterator[None]:
    raise DriverFailure("it died", stage="serving", log="the end")
    yield


DEADLY = "t9"


def compare(number: int, case: Case, *arguments) -> Iterator[CaseResult]:
    """Compare as a stream does, but die of the layout `DEADLY`."""
    if case.layout == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from _compared(number, case, *arguments)


class Unpicklable(Exception):
    def __init__(self, first: str, second: str):
        super().__init__(first)


def fail_oddly(number: int) -> Iterator[None]:
    raise Unpicklable("one", "two")
    yield


SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]
