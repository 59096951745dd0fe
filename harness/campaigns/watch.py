"""The verdict of a source tree again, each time that its files are saved.

Only the side whose files changed is started anew; its next process waits already, with all imported that is not of the tree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.compare.result import CaseResult
from harness.errors import EnvironmentFailure, UsageError
from harness.verification import environments
from harness.verification.apart import Apart, Named, failures
from harness.verification.environments import Source
from harness.verification.spare import Spares


@dataclass(frozen=True)
class Verdicts:
    """What the tree showed after ``changed`` files were saved, none before the first time; ``seconds`` since the last of them was
    saved, or since the start."""

    changed: tuple[str, ...]
    results: list[CaseResult]
    seconds: float


def trees(serving: str, reference: str) -> list[Source]:
    """The sides that are source trees.

    Raises:
        UsageError: none is.
    """
    sides = [environments.side(text, field) for text, field in ((serving, "serving"), (reference, "reference"))]
    found = [side for side in sides if isinstance(side, Source)]
    if not found:
        raise UsageError(
            "serving", serving, "a source tree, --serving-source DIR or --reference-source DIR, whose files are watched"
        )
    return found


def watch(
    apart: Apart, spares: Spares, serving: str, reference: str, watched: list[Source], saved: Callable[[], list[Path]]
) -> Iterator[Verdicts]:
    """The verdicts of the trees as they are, then again after each change, without end."""
    yield _verdicts(apart, spares, serving, reference, (), time.time())
    while True:
        files = saved()
        since = max((_saved(file) for file in files), default=time.time())
        for tree in watched:
            if any(file.is_relative_to(tree.package) for file in files):
                apart.forget(tree.side)
        yield _verdicts(apart, spares, serving, reference, _names(files, watched), since)


def _verdicts(
    apart: Apart, spares: Spares, serving: str, reference: str, changed: tuple[str, ...], since: float
) -> Verdicts:
    try:
        sides = (
            Named(serving, environments.interpreter(serving, "serving")),
            Named(reference, environments.interpreter(reference, "reference")),
        )
        found = apart.results(*sides)
    except (UsageError, EnvironmentFailure) as error:
        found = [*failures(serving, (reference,), apart.layouts, apart.setting, apart.spec, error, {})]
    verdicts = Verdicts(changed, found, time.time() - since)
    with suppress(UsageError, EnvironmentFailure):
        spares.start(
            environments.ahead(serving, "serving"),
            environments.interpreter(reference, "reference"),
            apart.setting.engine,
        )
    return verdicts


def _saved(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def _names(files: list[Path], watched: list[Source]) -> tuple[str, ...]:
    found = []
    for file in files:
        tree = next((tree.tree for tree in watched if file.is_relative_to(tree.tree)), None)
        found.append(str(file.relative_to(tree) if tree else file))
    return tuple(found)
