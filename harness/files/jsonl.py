"""Files of one JSON value a line, which grow while a run goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.files import regular
from harness.files.atomic import not_following


def append(path: Path, values: Iterable[Any]) -> None:
    """Add values to the end; makes the folder if need be. Several processes may; a line that one of them was killed in is
    ended first. A symbolic link is not followed: it is an OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(value) + "\n" for value in values).encode()
    with open(path, "a+b", buffering=0, opener=not_following) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            lines = b"\n" + lines
        while lines:
            lines = lines[file.write(lines) :]


def read(path: Path) -> list[Any]:
    """The values in their order, none if there is no file; a line that was cut off is left out. What is no file is an OSError."""
    values = []
    for line in regular.content(path).split(b"\n") if path.exists() else []:
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return values


def of_key(path: Path, *keys: str) -> list[dict[str, Any]]:
    """The objects of `read` whose "key" is one of these."""
    return [line for line in read(path) if isinstance(line, dict) and line.get("key") in keys]
