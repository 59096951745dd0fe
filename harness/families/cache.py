"""Checkpoints that are kept between runs: each is written once, by one process, and used only while it is whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.prompts.model_spec import ModelSpec

MANIFEST = "manifest.json"
"""The file of an entry that is written last: by name the size and the SHA-256 of each other one."""


def cache_directory() -> Path:
    """Where checkpoints are kept between runs: `HARNESS_CACHE`, or `.cache/checkpoints` in the working directory."""
    return Path(os.environ.get("HARNESS_CACHE", ".cache/checkpoints")).absolute()


def built(spec: ModelSpec, cache: Path, code: Path, write: Callable[[Path], None]) -> Path:
    """The checkpoint of ``spec``, written by ``write(directory)`` unless it is in ``cache``. The Python files in the folder
    ``code`` decide its content: a change of them makes another checkpoint, and so does another transformers."""
    import transformers

    content = b"".join(path.read_bytes() for path in sorted(code.glob("*.py")))
    digest = hashlib.sha256(content).hexdigest()[:8]
    return kept(cache, f"{spec.name}-{spec.key}-{digest}-transformers-{transformers.__version__}", write)


def kept(cache: Path, name: str, write: Callable[[Path], None]) -> Path:
    """The directory ``name`` in ``cache``, written by ``write(directory)`` unless it is there and has all its files as they were.

    It is written beside and renamed, so that an interrupted build is never taken for whole. Others who use the cache may
    read it, as far as the umask lets them.
    """
    target = cache / name
    if whole(target):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(cache)
    with _locked(cache, name):
        if not whole(target):
            _build(cache, name, write)
    return target


def whole(entry: Path) -> bool:
    """Whether it has every file of its manifest, each with its content."""
    try:
        files = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        return bool(files) and _all_facts(entry, files) == files
    except (OSError, ValueError, TypeError):
        return False


def _build(cache: Path, name: str, write: Callable[[Path], None]) -> None:
    """Write an entry that this process has locked, in the place of one that is not whole."""
    target, building = cache / name, _building(cache, name)
    for left in (building, target):
        if left.exists():
            shutil.rmtree(left)
    building.mkdir()
    try:
        write(building)
        _share(building)
        files = [str(path.relative_to(building)) for path in sorted(building.rglob("*")) if path.is_file()]
        (building / MANIFEST).write_text(json.dumps(_all_facts(building, files), indent=1), encoding="utf-8")
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _share(entry: Path) -> None:
    """Give what is in it the mode that the umask gave to the directory itself: safetensors writes files for their user alone."""
    mode = entry.stat().st_mode & 0o777
    for path in entry.rglob("*"):
        path.chmod(mode if path.is_dir() else mode & 0o666)


def _all_facts(entry: Path, names: Iterable[str]) -> dict[str, dict]:
    """The facts of files, several at a time: of a large checkpoint there are many, of gigabytes each."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: _facts(entry / name), names), strict=True))


def _facts(path: Path) -> dict:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _building(cache: Path, name: str) -> Path:
    return cache / f".{name}.building"


def _remove_abandoned(cache: Path) -> None:
    """Remove builds that were killed: nobody has their entry locked."""
    for building in cache.glob(".*.building"):
        with suppress(OSError), _locked(cache, building.name[1 : -len(".building")], fcntl.LOCK_NB):
            shutil.rmtree(building, ignore_errors=True)


@contextmanager
def _locked(cache: Path, name: str, more: int = 0) -> Iterator[None]:
    """Hold the lock of an entry, which the kernel takes away from a process that ends; raises BlockingIOError with LOCK_NB."""
    lock = os.open(cache / f".{name}.lock", os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | more)
        yield
    finally:
        os.close(lock)
