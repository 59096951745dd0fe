"""A folder that a command writes to: found good before engines start, and its own while it runs."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError

LOCK = ".lock"
ROOM = 8 << 20
"""Bytes that must be free: a report takes 2 to 5 MiB."""
_ours: set[Path] = set()


@contextmanager
def claimed(field: str, path: Path) -> Iterator[Path]:
    """The folder ``path``, made if need be, which no other command can claim meanwhile; one process may claim it again.

    The lock is the kernel's (flock), so that none is left by a process that was killed.

    Raises:
        UsageError: it cannot be written to, has no room, or another command writes to it; ``field`` is the option.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            os.posix_fallocate(probe.fileno(), 0, ROOM)
        real = path.resolve(strict=True)
        other = next((file for file in path.glob("*.jsonl") if file.is_symlink() or not file.is_file()), None)
    except FileExistsError:
        raise UsageError(field, str(path), "a folder, not a file") from None
    except OSError as error:
        raise UsageError(field, str(path), f"a folder that can be written to ({error.strerror})") from None
    if other:
        raise UsageError(field, str(path), f"a folder whose {other.name} this harness has written, or that has none")
    if real in _ours:
        yield path
        return
    lock = _locked(field, path)
    _ours.add(real)
    try:
        yield path
    finally:
        _ours.discard(real)
        (path / LOCK).unlink(missing_ok=True)
        os.close(lock)


def _locked(field: str, path: Path) -> int:
    """A descriptor of the lock's file, locked. One that its owner removed after it was opened here is no lock any more."""
    while True:
        lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode() or "another one"
            os.close(lock)
            raise UsageError(
                field, str(path), f"a folder that no other command writes to (process {owner} does)"
            ) from None
        try:
            if os.path.samestat(os.fstat(lock), os.lstat(path / LOCK)):
                os.ftruncate(lock, 0)
                os.write(lock, str(os.getpid()).encode())
                return lock
        except FileNotFoundError:
            pass
        os.close(lock)
