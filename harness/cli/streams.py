"""Standard output and error that a command can write to, wherever they lead: no one may read them, or no place be left."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

GONE = (errno.EPIPE, errno.EIO)
"""Whoever read a pipe or a terminal has left. That is no failure of what is written."""


class Outlet(io.FileIO):
    """A standard stream. What it cannot take is lost without an exception; ``failure`` is the first reason but `GONE`."""

    failure: OSError | None = None

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in GONE and self.failure is None:
                self.failure = error
            return memoryview(data).nbytes


def harden() -> Outlet:
    """Make writing to `sys.stdout` and `sys.stderr` safe in whatever state they were handed over: closed ones lead nowhere,
    and a character that their encoding lacks is written as an escape. Returns standard output's outlet."""
    closed = _fill()
    output, sys.stdout = _outlet(1, sys.stdout, closed)
    _, sys.stderr = _outlet(2, sys.stderr, closed)
    return output


def _fill() -> set[int]:
    """Open standard descriptors that are closed, so that no file of ours gets their number and what is printed."""
    closed = set()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    return closed


def _outlet(number: int, before: TextIO | None, closed: set[int]) -> tuple[Outlet, io.TextIOWrapper]:
    raw = Outlet(number, "w", closefd=False)
    encoding = getattr(before, "encoding", None) or "utf-8"
    buffered = number == 1 and not raw.isatty()
    text = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding,
        "backslashreplace",
        newline="\n",
        line_buffering=not buffered,
        write_through=False,
    )
    return raw, text
