"""Results that are on disk as soon as they are known, from one process or several, until a report is made of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.compare.result import SCHEMA, CaseResult
from harness.errors import UsageError
from harness.files import jsonl

FILE = "results.jsonl"
OURS = "gemma4-serving-harness"
RESULT = "result"


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


def begin(field: str, folder: Path, command: str) -> Recorder:
    """Keep the results of a new run in ``folder``. Those of a run that was killed before its report was made are set aside,
    as results-DATE-TIME.jsonl.

    Raises:
        UsageError: there is a file of that name that is not this harness's; ``field`` is the option that names the folder.
    """
    path = folder / FILE
    if os.path.lexists(path):
        first, *found = jsonl.read(path) or [None]
        if path.is_symlink() or not isinstance(first, dict) or first.get("journal") != OURS:
            raise UsageError(field, str(folder), f"a folder whose {FILE} this harness has written, or that has none")
        if found:
            when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(path.stat().st_mtime))
            path.rename(path.with_stem(f"{path.stem}-{when}"))
        else:
            path.unlink()
    jsonl.append(path, [{"journal": OURS, "schema": SCHEMA, "command": command}])
    return Recorder(folder)


def end(folder: Path) -> None:
    """The report is made: forget what it was made of."""
    (folder / FILE).unlink(missing_ok=True)


def collected(folder: Path) -> list[CaseResult]:
    """The results of all processes, in the order in which they came; a line that was cut off is left out."""
    return [CaseResult.from_dict(line[RESULT]) for line in jsonl.read(folder / FILE) if RESULT in line]
