"""A folder for what a session needs while it lives. The next session removes it where this one could not."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "harness-"
LOCK = ".harness-session.lock"
"""The file in a folder that its session has locked; the kernel unlocks it when the session's process ends in whatever way."""

_UNLOCKED = re.compile(PREFIX + r"[a-z0-9_]{8}")
"""A name that `mkdtemp` gives. Such a folder without a lock is empty where its session ended after making it or before removing
it; a session that is only now about to lock it makes another one."""


class Workplace:
    """A new folder in the directory for temporary files, readable for its user alone."""

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            lock = _locked(self.path, os.O_CREAT | os.O_EXCL)
            if lock is not None:
                self._lock: int | None = lock
                return

    def folder(self, name: str) -> Path:
        """A new folder in this one whose name begins with ``name``."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path))

    def close(self) -> None:
        if self._lock is not None:
            _remove(self.path)
            os.close(self._lock)
            self._lock = None


def _remove_abandoned(directory: Path) -> None:
    """Remove the folders of this user's sessions that have ended."""
    for folder in directory.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if (lock := _locked(folder)) is not None:
                _remove(folder)
                os.close(lock)
            elif _UNLOCKED.fullmatch(folder.name) and stat.S_IMODE(folder.stat().st_mode) == 0o700:
                folder.rmdir()  # an error where it holds anything


def _locked(folder: Path, more: int = 0) -> int | None:
    """The descriptor of the folder's lock, if this process has it now; none if another has, or removed the folder."""
    path = folder / LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | more, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.lstat(path)):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _remove(folder: Path) -> None:
    """Remove a locked folder, its lock last, so that what could not be removed now is found by the next session."""
    for entry in [*folder.iterdir()]:
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if [entry.name for entry in folder.iterdir()] == [LOCK]:
        shutil.rmtree(folder, ignore_errors=True)
