"""Where a session's captures and logs go, and which captures of the reference are remembered."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.captures.read import Capture
from harness.drivers.messages import Caching, ReferenceModel, Stored
from harness.verification.workplace import Workplace

Key = tuple[ReferenceModel, Caching | None, tuple[int, ...], tuple[int, ...], str]
"""What a capture of the reference is of: the model, its own cache, layers, positions, and the digest of the prompt."""


class CaptureStore:
    """Files go below the directory ``keep``; without one they go with the store, and captures as soon as nobody needs them."""

    def __init__(self, keep: Path | None = None) -> None:
        self._workplace = Workplace()
        self.path = Path(keep) if keep else self._workplace.path
        self.temporary = keep is None
        self._remembered: dict[Key, Stored] = {}
        self._count = 0

    def directory(self, side: str) -> Path:
        """A directory for captures that has not been given before."""
        return self.path / side / f"{self._next():06d}"

    def log(self, side: str) -> Path:
        """A file for the log of a driver that has not been given before."""
        return self.path / "logs" / f"{side}-{self._next()}.log"

    def scratch(self) -> Path:
        """A new folder for the temporary files of a driver."""
        return self._workplace.folder("t")

    def known(self, keys: Iterable[Key]) -> dict[Key, Stored]:
        """Those that are remembered."""
        return {key: self._remembered[key] for key in keys if key in self._remembered}

    def remember(self, captures: dict[Key, Stored]) -> None:
        """Let the reference not be asked again for these."""
        self._remembered |= captures

    def forget(self) -> None:
        """Let the reference be asked again for everything."""
        self._remembered.clear()

    def discard(self, *directories: Path) -> None:
        """Remove captures that nobody needs any more, unless all are kept."""
        if self.temporary:
            for directory in directories:
                shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Remove everything but what is kept."""
        self._workplace.close()

    def _next(self) -> int:
        self._count += 1
        return self._count


def read(stored: Stored) -> Capture:
    """The capture that a driver says it has stored."""
    return Capture(stored.directory, stored.place)
