"""Files that are either the old one or the whole new one, and are no one else's: a symbolic link is never followed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` as UTF-8 beside ``path``, then put it in place in one step; makes the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def not_following(path: str, flags: int) -> int:
    """An opener for `open` that fails where ``path`` is a symbolic link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
