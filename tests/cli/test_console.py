"""What is printed is what was meant: brackets, colons and long lines come out as they went in."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.table import Table

import harness
from harness import console
from harness.cli import app

AWKWARD = [
    "pip install -e .[cpu]",
    "reports/[draft]/index.html",
    "[bold]x[/bold] [/] [red]",
    ":smile: C:\\new",
    "w" * 300,
]


def shown(*objects: object, **options: object) -> str:
    narrow = console.Console(file=io.StringIO(), width=60, force_terminal=False)
    narrow.print(*objects, **options)
    return narrow.file.getvalue()


@pytest.mark.parametrize("text", AWKWARD)
def test_a_line_is_printed_as_it_stands(text: str) -> None:
    assert shown(text) == shown(text, style="bold red") == f"{text}\n"


@pytest.mark.parametrize("text", AWKWARD[:-1])
def test_so_is_what_stands_in_a_table(text: str) -> None:
    table = Table("column", title=text)
    table.add_row(text)
    assert shown(table).count(text) == 2


@pytest.mark.parametrize("text", AWKWARD[:-1])
def test_so_is_what_a_bar_or_a_spinner_is_about(text: str) -> None:
    with console.progress_bar() as progress:
        progress.console.file = io.StringIO()
        progress.add_task(text, total=1)
        assert text in shown(progress.get_renderable())
    assert text in shown(console.Console(file=io.StringIO()).working(text).renderable)


@pytest.mark.parametrize("text", AWKWARD)
def test_so_is_an_error(text: str) -> None:
    assert shown(app.said(ValueError(text))) == f"error: {text}\n"


def test_no_command_has_another_console() -> None:
    others = {
        path.name
        for path in Path(harness.__file__).parent.rglob("*.py")
        if re.search(r"rich.console import .*\bConsole\b|\bProgress\(|from_markup", path.read_text())
        and path.name != "console.py"
    }
    assert others == set()
