"""Files that somebody else names or has left: only one with an end is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def content(path: Path) -> bytes:
    """All bytes of a file. A pipe or a device, which would be waited for or has no end, is an OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "not a file", str(path))
        return file.read()


def text(path: Path) -> str:
    """A file of UTF-8; raises as `content`, and ValueError where it is none."""
    return content(path).decode("utf-8")
