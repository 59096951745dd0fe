"""Everything that a run leaves behind, in one folder."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.compare.result import SCHEMA, CaseResult
from harness.files import atomic, regular
from harness.report import markdown
from harness.report.extent import Extent
from harness.report.html import write_html
from harness.report.junit import write_junit
from harness.report.tables import of_part, overview, spreadsheet
from harness.report.text import strict

TITLE = "Gemma 4: reference versus serving"


def write_report(results: list[CaseResult], directory: Path, command: str, extent: Extent | None = None) -> Path:
    """Write index.html, results.json, results.csv, junit.xml and summary.md; returns the path of index.html.

    Each file appears whole or not at all, and says if it is of a part: ``extent``. In results.json numbers that are not
    finite are null, and ``seconds`` is what writing the others took.
    """
    part = extent.sentence if extent else ""
    start = time.perf_counter()
    generated = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    index = write_html(results, directory / "index.html", title=TITLE, generated=generated, command=command, part=part)
    atomic.write_text(directory / "results.csv", spreadsheet(of_part(overview(results), part)))
    atomic.write_text(
        directory / "summary.md", markdown.summary(results, command=command, generated=generated, part=part)
    )
    write_junit(results, directory / "junit.xml", extent)
    document = {
        "schema": SCHEMA,
        "command": command,
        "generated": generated,
        "part": extent.to_dict() if extent and part else None,
    }
    document["seconds"] = {"report": round(time.perf_counter() - start, 3)}
    document["results"] = [result.to_dict() for result in results]
    atomic.write_text(directory / "results.json", json.dumps(strict(document), allow_nan=False, indent=1) + "\n")
    return index


def read_results(path: Path) -> list[CaseResult]:
    """The results in a results.json.

    Raises:
        ValueError: the file has another schema.
    """
    return [CaseResult.from_dict(result) for result in _document(path)["results"]]


def ended(path: Path) -> str:
    """Why the report in a results.json is a part that nobody asked for; nothing where it is not. Raises as `read_results`."""
    part = _document(path)["part"]
    return part["sentence"] if part and part["ended"] else ""


def _document(path: Path) -> dict[str, Any]:
    document = json.loads(regular.text(path))
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path.name} has schema {schema!r}, this release reads {SCHEMA}")
    return document
