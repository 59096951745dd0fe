"""Signals that ask a command to end: it ends in order, and makes the report of what is done."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

from harness.drivers.hearing import Hearing

ASKED = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
"""A time limit of CI sends SIGTERM, a terminal that is closed SIGHUP."""


class Ended(BaseException):
    """One of these signals came. ``code`` is the exit code of it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""

    def __init__(self, number: int):
        super().__init__(f"interrupted by {ASKED[signal.Signals(number)]}")
        self.number = number
        self.code = 128 + number


def heed() -> None:
    """Raise `Ended` where one of these signals comes, but not for those that this process was started to ignore (nohup)."""
    _hearing()
    for number in ASKED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def ignore() -> None:
    """Ignore these signals from now on: the command has ended, with an exit code that stays."""
    for number in ASKED:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def unheeded() -> Iterator[None]:
    """These signals are ignored: for what is short and has to be whole."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ASKED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_terminal() -> None:
    """What is printed from now on to a terminal that is closed goes nowhere, instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        try:
            closed = stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream)
        except OSError:
            closed = True
        if closed:
            os.dup2(nowhere, stream)
    os.close(nowhere)


def _end(number: int, frame: FrameType | None) -> None:
    _hearing().ran(number)
    raise Ended(number)


@cache
def _hearing() -> Hearing:
    return Hearing(_end, lambda error: error.number if isinstance(error, Ended) else None)
