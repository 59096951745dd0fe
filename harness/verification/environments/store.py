"""The cache of environments: made beside and renamed, marked last, one maker at a time, never removed while in use."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from rich.console import Console

from harness.errors import EnvironmentFailure
from harness.verification.environments import uv
from harness.verification.environments.recipes import Recipe, recipe
from harness.verification.environments.release import Release, side

MARKER = "environment.json"


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
    environment, which is made now if it is not in the cache.

    Raises:
        UsageError: neither, or nobody has such a release.
        EnvironmentFailure: its environment cannot be made here.
    """
    named = side(text, field)
    return str(make(named).python) if isinstance(named, Release) else named


def words(python: str) -> str:
    """How a command names this interpreter: by its release if it is one of the cache, else by its path."""
    folder = Path(python).absolute().parent.parent
    found = _marked(folder) if folder.parent == root() else None
    return found.release if found else python


def known() -> list[Environment]:
    """Every whole environment in the cache, by release."""
    found = [_marked(folder) for folder in root().glob("[!.]*")]
    return sorted((one for one in found if one), key=lambda one: (one.release.split("==")[0], Release.parse(one.release).number))


def make(release: Release, say: Callable[[str], None] | None = None) -> Environment:
    """The environment of a release, made now unless it is in the cache. It stays in use while this process lives.

    Raises:
        UsageError: nobody has such a release.
        EnvironmentFailure: it cannot be made here.
    """
    wanted = recipe(release)
    folder = root() / f"{release.name}-{release.version}-{wanted.key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    held = _lock_file(folder)
    fcntl.flock(held, fcntl.LOCK_SH)
    if not _marked(folder):
        fcntl.flock(held, fcntl.LOCK_EX)
        if not _marked(folder):
            with _telling(release, say) as told:
                _make(release, wanted, folder, told)
        fcntl.flock(held, fcntl.LOCK_SH)
    os.utime(folder / MARKER)
    return Environment(folder, str(release))


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


def _make(release: Release, wanted: Recipe, folder: Path, say: Callable[[str], None]) -> None:
    """Called by the one process that holds the lock, so that what lies half made beside ``folder`` is nobody's any more."""
    for abandoned in [folder, *folder.parent.glob(f".{folder.name}-*")]:
        shutil.rmtree(abandoned, ignore_errors=True)
    start = time.monotonic()
    lock = uv.resolve(wanted, say)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        made = beside / "made"
        uv.install(lock, made, wanted, say)
        facts = {"release": str(release), "recipe": asdict(wanted), "seconds": round(time.monotonic() - start, 1)}
        (made / MARKER).write_text(json.dumps({**facts, "lock": lock.split("\n")[:-1]}, indent=1), encoding="utf-8")
        os.rename(made, folder)
    except OSError as error:
        raise EnvironmentFailure(f"{release}: its environment cannot be made in {folder.parent}: {error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _marked(folder: Path) -> Environment | None:
    try:
        facts = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Environment(folder, facts["release"])


def _lock_path(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


@cache
def _lock_file(folder: Path) -> int:
    """The open lock of an environment; open as long as this process lives."""
    return os.open(_lock_path(folder), os.O_RDWR | os.O_CREAT, 0o644)


@contextmanager
def _telling(release: Release, say: Callable[[str], None] | None) -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is done, unless ``say`` is given, which hears it."""
    if say:
        yield say
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"making the environment of {release}", soft_wrap=True)
    with console.status(f"making the environment of {release}") as status:
        yield lambda line: status.update(f"making the environment of {release}: {line}")
