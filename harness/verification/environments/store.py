"""The cache of environments: made beside and renamed, marked last, one maker at a time, never removed while in use."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from packaging.version import Version
from rich.text import Text

from harness.console import Console
from harness.errors import EnvironmentFailure, UsageError
from harness.verification.environments import uv
from harness.verification.environments.recipes import Recipe, bases, recipe
from harness.verification.environments.release import Release, side
from harness.verification.environments.source import Source, links

MARKER = "environment.json"
_locks: dict[Path, int] = {}
"""The open locks of the environments that this process uses."""


def root() -> Path:
    """Where environments are kept: `HARNESS_ENVIRONMENTS`, or a folder in the user's cache."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HARNESS_ENVIRONMENTS") or users / "gemma4-serving-harness" / "environments").absolute()


@dataclass(frozen=True)
class Environment:
    """An environment in the cache. Its marker says the ``release`` that it was made for and the exact versions in it."""

    folder: Path
    release: str

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def used(self) -> float:
        """When it was used last, in seconds since 1970."""
        return (self.folder / MARKER).stat().st_mtime

    @property
    def lock(self) -> list[str]:
        """Each distribution with its version, as NAME==VERSION."""
        return json.loads((self.folder / MARKER).read_text(encoding="utf-8"))["lock"]

    def bytes(self) -> int:
        """What its files take; most are shared with uv's cache and other environments."""
        return sum(path.lstat().st_blocks * 512 for path in self.folder.rglob("*"))


def interpreter(text: str, field: str) -> str:
    """The interpreter that ``--serving`` or ``--reference`` (``field``) names: a path is one; for a release it is that of its
    environment, which is made now if it is not in the cache; for a source tree one that runs it over such an environment.

    Raises:
        UsageError: neither, or nobody has such a release.
        EnvironmentFailure: its environment cannot be made here.
    """
    named = side(text, field)
    if isinstance(named, Source):
        return str(layered(named).python)
    return str(make(named).python) if isinstance(named, Release) else named


def ahead(text: str, field: str) -> str:
    """As `interpreter`; for a source tree the one that will run it when a file of it has been changed."""
    named = side(text, field)
    return str(layered(replace(named, edited=True)).python) if isinstance(named, Source) else interpreter(text, field)


def words(python: str) -> str:
    """How a command names this interpreter: by its release or source tree if it is one of the cache, else by its path."""
    folder = Path(python).absolute().parent.parent
    found = _marked(folder) if folder.parent == root() else None
    return found.release if found else python


def known() -> list[Environment]:
    """Every whole environment in the cache, by release."""
    found = [_marked(folder) for folder in root().glob("[!.]*")]
    return sorted((one for one in found if one), key=_order)


def _order(environment: Environment) -> tuple:
    """Releases by name and number; after them, by name, source trees and releases that this harness does not know, which another
    version of it made."""
    release = None
    with suppress(UsageError):
        release = Release.parse(environment.release)
    return (0, release.name, release.number) if release else (1, environment.release, Version("0"))


def is_made(text: str) -> bool:
    """Whether the environment of a release, NAME==VERSION, is in the cache, so that `interpreter` makes nothing."""
    release = Release.parse(text)
    return release is not None and _marked(_folder(release, recipe(release))) is not None


def _folder(release: Release, wanted: Recipe) -> Path:
    return root() / f"{release.name}-{release.version}-{wanted.key}"


def make(release: Release, say: Callable[[str], None] | None = None) -> Environment:
    """The environment of a release, made now unless it is in the cache. It stays in use while this process lives.

    Raises:
        UsageError: nobody has such a release.
        EnvironmentFailure: it cannot be made here.
    """
    wanted = recipe(release)
    folder = _folder(release, wanted)
    with _held(folder) as absent:
        if absent:
            with _telling(release, say) as told:
                start = time.monotonic()
                lock = uv.resolve(wanted, told)
                with _beside(folder) as made:
                    uv.install(lock, made, wanted, told)
                    seconds = round(time.monotonic() - start, 1)
                    _mark(
                        made, release=str(release), recipe=asdict(wanted), seconds=seconds, lock=lock.split("\n")[:-1]
                    )
    return Environment(folder, str(release))


def layered(source: Source) -> Environment:
    """An environment that runs a source tree over the newest release that is no later and can be had.

    Raises:
        EnvironmentFailure: there is none.
    """
    base = _base(source)
    over = Release.parse(base.release)
    assert over is not None, "what a source is laid over is a release"
    name, version = over.distribution, source.version(over.version)
    (lent,) = base.folder.glob("lib/python*/site-packages")
    linked = links(source.package, lent / source.package.name)
    key = hashlib.sha256(json.dumps([version, str(lent), *map(str, sorted(linked.items()))]).encode()).hexdigest()[:12]
    folder = root() / f"{name}-{version.replace('+', '-')}-{key}"
    with _held(folder) as absent:
        if absent:
            with _beside(folder) as made:
                uv.bare(base.python, made)
                (own,) = made.glob("lib/python*/site-packages")
                _lay(source.package.name, linked, own)
                (own / "base.pth").write_text(f"import site; site.addsitedir({str(lent)!r})\n", encoding="utf-8")
                _record(own, name, version)
                _mark(made, release=str(source.tree), over=base.release, lock=[f"{name}=={version}", *base.lock])
    return Environment(folder, str(source.tree))


def _base(source: Source) -> Environment:
    failures = []
    for release in bases(source.package.name, source.number):
        try:
            return make(release)
        except (UsageError, EnvironmentFailure) as error:
            failures.append(error)
    why = failures[0] if failures else f"{source.number} is older than all that were tried"
    raise EnvironmentFailure(f"{source.tree}: there is no release to lay it over: {why}")


def _lay(package: str, linked: dict[str, Path], own: Path) -> None:
    for place, target in linked.items():
        link = own / package / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


def _record(own: Path, name: str, version: str) -> None:
    """The distribution's record, and for vLLM the module that its build writes, with the version of a tree."""
    record = own / f"{name.replace('-', '_')}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    written = own / "vllm" / "_version.py"
    if written.parent.is_dir() and not written.exists():
        parts = Version(version).release
        written.write_text(
            f"__version__ = version = {version!r}\n__version_tuple__ = version_tuple = {parts}\n", encoding="utf-8"
        )


def remove(environment: Environment) -> bool:
    """Remove an environment from the cache; False if some process uses it."""
    held = os.open(_lock_path(environment.folder), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (environment.folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(environment.folder, ignore_errors=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(held)


def discarded(python: str) -> None:
    """Remove the environment of a source tree that this process is done with, unless another uses it; others stay."""
    folder = Path(python).absolute().parent.parent
    found = _marked(folder) if folder.parent == root() else None
    if found and Release.parse(found.release) is None:
        if folder in _locks:
            os.close(_locks.pop(folder))
        remove(found)


def remove_half_made() -> None:
    """Remove what makers left that were killed; what one is at stays."""
    for beside in root().glob(".*-*/"):
        folder = root() / beside.name[1:].rsplit("-", 1)[0]
        held = os.open(_lock_path(folder), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(beside, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(held)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Take ``folder`` into use by this process, as long as it lives; yields whether it is still to be made, by this process
    alone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    held = _lock_file(folder)
    fcntl.flock(held, fcntl.LOCK_SH)
    if not _marked(folder):
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield not _marked(folder)
    finally:
        fcntl.flock(held, fcntl.LOCK_SH)
    os.utime(folder / MARKER)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A place to make ``folder`` in, which takes its name when it is whole. Called by the one process that holds the lock, so
    that what lies half made beside it is nobody's any more."""
    for abandoned in [folder, *folder.parent.glob(f".{folder.name}-*")]:
        shutil.rmtree(abandoned, ignore_errors=True)
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield beside / "made"
            (beside / "made").rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise EnvironmentFailure(f"{folder}: this environment cannot be made: {error}") from None


def _mark(made: Path, **facts: object) -> None:
    (made / MARKER).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _marked(folder: Path) -> Environment | None:
    try:
        facts = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Environment(folder, facts["release"])


def _lock_path(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


def _lock_file(folder: Path) -> int:
    """The open lock of an environment; open as long as this process lives, or until the environment is `discarded`."""
    if folder not in _locks:
        _locks[folder] = os.open(_lock_path(folder), os.O_RDWR | os.O_CREAT, 0o644)
    return _locks[folder]


@contextmanager
def _telling(release: Release, say: Callable[[str], None] | None) -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is done, unless ``say`` is given, which hears it."""
    if say:
        yield say
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"making the environment of {release}")
    with console.working(f"making the environment of {release}") as status:
        yield lambda line: status.update(Text(f"making the environment of {release}: {line}"))
