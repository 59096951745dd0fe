"""How a command ends: with the exit code of its verdict, and with 3 whatever unforeseen comes between."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from harness.cli import streams
from harness.drivers.signals import Ended, heed, ignore
from harness.text import one_line

BY_SIGNAL = 128
"""Exit codes above it say that a signal ended the command."""


def main() -> int:
    """Run a command. The exit code: 0 as it should be, 1 a divergence and nothing else, 2 bad input, 3 a driver, the
    environment, or anything that nobody foresaw; 130, 143 or 129 after Ctrl-C, SIGTERM or SIGHUP, whatever was found before."""
    output = streams.harden()
    try:
        code = _ended()
        ignore()
    except Ended as late:  # between the command's end and the line above
        ignore()
        code = late.code
    sys.stdout.flush()
    if output.failure:
        print(f"error: standard output could not be written: {output.failure.strerror}", file=sys.stderr)
        return 3
    return code


def _ended() -> int:
    try:
        heed()
        from harness.cli import app

        return app.run()
    except Ended as ended:
        ignore()
        print(ended, file=sys.stderr)
        return ended.code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) and error.code > BY_SIGNAL else unforeseen(error)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the exit code is 3
        return unforeseen(error)


def _is_there() -> bool:
    """Whether the working directory still is."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def unforeseen(error: BaseException) -> int:
    """Say it in one line, with the log that has the traceback; the exit code."""
    said = one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
    if not _is_there():
        said = f"the working directory was removed; run this in one that is there ({said})"
    text = "".join(traceback.format_exception(error))
    try:
        handle, log = tempfile.mkstemp(prefix="harness-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as failure:
        print(f"error: {said}; no log could be written ({failure.strerror})\n{text}", file=sys.stderr)
    else:
        print(f"error: {said}; the traceback is in {log}", file=sys.stderr)
    return 3
