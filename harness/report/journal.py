"""Results that are on disk as soon as they are known, from one process or several, until a report is made of them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from harness.compare.result import SCHEMA, CaseResult
from harness.errors import UsageError
from harness.files import jsonl

FILE = "results.jsonl"
OURS = "gemma4-serving-harness"
RESULT = "result"
_BEGINS = json.dumps({"journal": OURS})[:-1].encode()


class Recorder:
    """Keeps what is found for the report in ``folder``; without a folder it keeps nothing."""

    def __init__(self, folder: Path | None):
        self._path = folder / FILE if folder else None

    def append(self, result: CaseResult) -> None:
        self.extend([result])

    def extend(self, results: Iterable[CaseResult]) -> None:
        self.note(RESULT, (result.to_dict() for result in results))

    def note(self, kind: str, values: Iterable[Any]) -> None:
        """Keep values of a ``kind``, which JSON can hold."""
        if self._path:
            jsonl.append(self._path, ({kind: value} for value in values))


def begin(field: str, folder: Path, command: str, planned: int = 0) -> Recorder:
    """Keep the results of a new run in ``folder``, of which there will be ``planned`` if it is not ended early. Those of a run
    that was killed before its report was made are set aside, as results-DATE-TIME.jsonl.

    Raises:
        UsageError: there is a file of that name that is not this harness's; ``field`` is the option that names the folder.
    """
    path = folder / FILE
    if os.path.lexists(path):
        if not _ours(path):
            raise UsageError(field, str(folder), f"a folder whose {FILE} this harness has written, or that has none")
        if jsonl.read(path)[1:]:
            path.rename(_aside(path))
        else:
            path.unlink()
    jsonl.append(path, [{"journal": OURS, "schema": SCHEMA, "command": command, "planned": planned}])
    return Recorder(folder)


def _ours(path: Path) -> bool:
    """It begins as this harness's files of this kind do, as far as it was written."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        begins = file.read(len(_BEGINS))
    return begins == _BEGINS[: len(begins)]


def _aside(path: Path) -> Path:
    """A name beside it that no file has."""
    when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(path.stat().st_mtime))
    names = (path.with_stem("-".join([path.stem, when, *([str(number)] if number else [])])) for number in count())
    return next(name for name in names if not os.path.lexists(name))


def end(folder: Path) -> None:
    """The report is made: forget what it was made of."""
    (folder / FILE).unlink(missing_ok=True)


def collected(folder: Path) -> list[CaseResult]:
    """The results of all processes, in the order in which they came; a line that was cut off is left out."""
    return [CaseResult.from_dict(line[RESULT]) for line in jsonl.read(folder / FILE) if RESULT in line]


@dataclass(frozen=True)
class Left:
    """What a run that was killed had found. ``planned`` is 0 where the run did not know it."""

    command: str
    planned: int
    results: list[CaseResult]


def left(field: str, path: Path) -> Left:
    """What a file that `begin` set aside, or would, has.

    Raises:
        UsageError: it is no such file, or has another schema; ``field`` is the option that names it.
    """
    lines = jsonl.read(path) if _ours(path) else []
    if not lines or not isinstance(lines[0], dict) or lines[0].get("journal") != OURS:
        raise UsageError(field, str(path), f"a {FILE} that this harness has written")
    if lines[0].get("schema") != SCHEMA:
        raise UsageError(field, str(path), f"a file of schema {SCHEMA}; it has {lines[0].get('schema')}")
    try:
        results = [CaseResult.from_dict(line[RESULT]) for line in lines if RESULT in line]
        return Left(str(lines[0]["command"]), int(lines[0]["planned"]), results)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise UsageError(
            field, str(path), f"a {FILE} as this harness has written it; a line of it is damaged ({said})"
        ) from None
