"""Results that are on disk as soon as they are known, from one process or several, until a report is made of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.compare.result import CaseResult
from harness.files import jsonl

FOLDER = "parts"


class Recorder:
    """Keeps the results of one process, ``worker``, for the report in ``folder``; without a folder it keeps none."""

    def __init__(self, folder: Path | None, worker: str = "main"):
        self._path = folder / FOLDER / f"{worker}.jsonl" if folder else None

    def append(self, result: CaseResult) -> None:
        self.extend([result])

    def extend(self, results: Iterable[CaseResult]) -> None:
        if self._path:
            jsonl.append(self._path, (result.to_dict() for result in results))


def clear(folder: Path) -> None:
    """Forget what an earlier run left."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def collected(folder: Path) -> list[CaseResult]:
    """The results of all processes, by setting; a line that was cut off is left out."""
    lines = (line for path in sorted((folder / FOLDER).glob("*.jsonl")) for line in jsonl.read(path))
    return sorted(map(CaseResult.from_dict, lines), key=lambda result: result.setting["label"])
