"""What a checkpoint is, whatever its directory is called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import CheckpointError
from harness.text import listed

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""The file of the weights, or where there are several the one that says which tensor is in which."""
SUFFIXES = (".json", ".safetensors", ".bin", ".pt", ".jinja", ".model")
BLOCK = 1 << 26
"""Bytes that one thread hashes at a time."""


def content(source: str) -> str:
    """What a checkpoint's files are: for a directory a hash of their names and of every byte of those that either side reads, for
    an id of the Hugging Face hub, of which each side downloads what it needs, the commit that is on this machine.

    Raises:
        OSError: a file cannot be read, or the hub's copy is not on this machine.
    """
    directory = Path(source)
    if not directory.is_dir():
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(source, local_files_only=True)).name
    files = sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES and path.is_file())
    whole = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for path in files:
            whole.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            for digest in pool.map(lambda start, path=path: _block(path, start), _starts(path)):
                whole.update(digest)
    return whole.hexdigest()


def files_of(source: str) -> dict[str, tuple[int, int]]:
    """The sizes and times of change (ns) of a directory's files, by name, where nobody has hours for their content; empty for
    what is no directory."""
    directory = Path(source)
    if not source or not directory.is_dir():
        return {}
    facts = ((path.name, path.stat()) for path in sorted(directory.iterdir()) if path.suffix in SUFFIXES)
    return {name: (found.st_size, found.st_mtime_ns) for name, found in facts}


@dataclass(frozen=True)
class Unchanged:
    """The files of a checkpoint as they were when somebody began to read it."""

    source: str
    files: Mapping[str, tuple[int, int]] = field(repr=False)

    @classmethod
    def since_now(cls, source: str) -> Unchanged:
        return cls(source, files_of(source))

    def check(self) -> None:
        """Raise CheckpointError if one was changed, added or taken away since."""
        try:
            now = files_of(self.source)
        except OSError:
            now = {}
        changed = dict.fromkeys(name for name, _ in sorted({*self.files.items()} ^ {*now.items()}))
        if changed:
            said = f"{listed(changed)} changed while it was read, and nothing tells which of the two is meant"
            raise CheckpointError(f"{self.source}: {said}")


def _starts(path: Path) -> Iterator[int]:
    yield from range(0, path.stat().st_size, BLOCK)


def _block(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(BLOCK)).digest()
