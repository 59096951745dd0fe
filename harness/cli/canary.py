"""`harness canary`: one page of the reports of several pairs of sides, which opens with what is FIXED and what is new."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.compare.result import CaseResult
from harness.console import Console
from harness.errors import UsageError
from harness.files import atomic
from harness.report import canary as report
from harness.report import files
from harness.report.folder import claimed


def canary(
    reports: Annotated[
        list[Path], typer.Argument(help="folders that `harness report` wrote, one for each pair of sides")
    ],
    out: Annotated[Path, typer.Option(help="the folder that summary.md is written to")] = Path("reports/canary"),
) -> None:
    """Say what is FIXED and what is new in reports of newest releases and main branches. Exit code 1 if anything is."""
    found: dict[str, list[CaseResult] | str] = {}
    ended: dict[str, str] = {}
    for folder in reports:
        if folder.exists() and not folder.is_dir():
            raise UsageError("reports", str(folder), "folders that `harness report` wrote; this is a file")
        if folder.name in found:
            raise UsageError("reports", str(folder), "folders of different names, by which the page calls them")
        found[folder.name] = _read(folder)
        if not isinstance(found[folder.name], str) and (why := files.ended(folder / "results.json")):
            ended[folder.name] = why
    generated = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    with claimed("out", out):
        page = report.page(found, ended, generated=generated)
        where = atomic.write_text(out / "summary.md", page)
    Console().print(page)
    Console(stderr=True).print(f"page: {where}")
    raise typer.Exit(report.exit_code(found, ended))


def _read(folder: Path) -> list[CaseResult] | str:
    try:
        return files.read_results(folder / "results.json")
    except FileNotFoundError:
        return "its run ended before it wrote results.json"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its results.json cannot be read: {error}"
