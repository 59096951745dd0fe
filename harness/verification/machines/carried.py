"""A folder that travels in the object store of the cluster, and is unpacked once in each process that asks for it."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.verification.workplace import Workplace

_unpacked: dict[str, Path] = {}
_places: list[Workplace] = []


@dataclass(frozen=True)
class Carried:
    """``content`` is Ray's reference to the bytes of an archive, ``name`` one that no other folder of the run has."""

    content: Any
    name: str

    def folder(self) -> Path:
        """The folder, unpacked into a place that goes with this process."""
        import ray

        if self.name not in _unpacked:
            if not _places:
                _places.append(Workplace())
            target = _places[0].folder("carried")
            unpack(ray.get(self.content), target)
            _unpacked[self.name] = target
        return _unpacked[self.name]


def archive(folder: Path) -> bytes:
    """The files of a folder as one archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(folder, arcname=".")
    return content.getvalue()


def unpack(content: bytes, target: Path) -> None:
    """Write what `archive` made into a folder that exists."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(target, filter="data")


def forget() -> None:
    """Remove what this process has unpacked."""
    _unpacked.clear()
    while _places:
        _places.pop().close()
