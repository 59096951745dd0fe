"""Results that are on disk as soon as they are known, from one process or several, until a report is made of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.compare.result import CaseResult

FOLDER = "parts"


class Recorder:
    """Keeps the results of one process, ``worker``, for the report in ``folder``; without a folder it keeps none."""

    def __init__(self, folder: Path | None, worker: str = "main"):
        self._path = folder / FOLDER / f"{worker}.jsonl" if folder else None

    def append(self, result: CaseResult) -> None:
        self.extend([result])

    def extend(self, results: Iterable[CaseResult]) -> None:
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(result.to_dict()) + "\n" for result in results)


def clear(folder: Path) -> None:
    """Forget what an earlier run left."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def collected(folder: Path) -> list[CaseResult]:
    """The results of all processes, by setting; a line that was cut off is left out."""
    results = []
    for path in sorted((folder / FOLDER).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                results.append(CaseResult.from_dict(json.loads(line)))
            except ValueError:
                continue
    return sorted(results, key=lambda result: result.setting["label"])
