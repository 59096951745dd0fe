"""`harness doctor`: what this machine can run, and what mends the rest."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from harness.cli import options
from harness.console import Console

if TYPE_CHECKING:
    from harness.verification.trials import Examined


def doctor(
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    format: options.FormatOption = options.Format.text,
) -> None:
    """Say what can be run here: both sides are imported, no engine is started."""
    from harness.verification.trials import examine

    found = examine(*options.interpreters(serving_python, reference_python))
    if format is options.Format.json:
        facts = asdict(found)
        sides = facts.pop("sides")
        json.dump({**facts, **sides}, sys.stdout, indent=1)
        print()
    else:
        _show(found)
    raise typer.Exit(3 if found.problems else 0)


def _show(found: Examined) -> None:
    console = Console()
    table = Table("", *found.sides, title="versions")
    for name in found.sides["serving"]:
        table.add_row(name, *(str(side[name]) for side in found.sides.values()))
    console.print(table)
    console.print(
        f"serving runs on: {found.platform or 'nothing here'}; back ends: {', '.join(found.backends) or 'none'}"
    )
    for name, why in found.unavailable.items():
        console.print(f"not {name}: {why}")
    for problem in found.problems:
        console.print(problem.problem, style="bold red")
        console.print(f"  mend it with: {problem.mend}")
    if not found.problems:
        console.print("nothing is missing", style="green")
