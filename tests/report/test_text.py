"""Text of unknown origin is read, and does nothing: not to a terminal, nor to the direction of what stands beside it."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table

from harness.console import Console
from harness.files import atomic, jsonl
from harness.report import markdown
from harness.report.files import write_report
from harness.report.html import render
from harness.report.tables import overview, spreadsheet
from harness.report.terminal import case_panel, summary_table
from harness.text import cut, one_line, plain, uncoloured
from tests.report.results import failed, result
from tests.report.test_escaping import everywhere

ACTING = "\x1b[2J\x1b]0;title\x07\x9b31m\x08\x00\x7f\u202e\u2066\u2069\u200e\u200f\u061c\ud800\u200b\ufeff\U000e0041"
"""Clears a screen, names its window, goes back, turns the direction, cannot be seen."""
EACH = sorted(set(ACTING) - set("[2J]0;titlem31"))


@pytest.mark.parametrize("letter", EACH, ids=lambda letter: f"U+{ord(letter):04X}")
def test_a_character_that_acts_is_made_visible(letter: str) -> None:
    shown = plain(f"a{letter}b")
    assert letter not in shown and shown in (f"a\\x{ord(letter):02x}b", f"a<U+{ord(letter):04X}>b")


@given(st.text(st.characters()))
def test_what_is_shown_has_no_control_and_can_be_encoded(text: str) -> None:
    shown = plain(text)
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\t\n"]
    assert not [
        letter
        for letter in shown
        if unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]
    shown.encode()
    assert plain(shown) == shown


def test_words_of_any_language_stay_as_they_are() -> None:
    words = "Zürich, עברית, العربية, 日本語, 👩\u200d🔬, \u2028, nai\u0308ve"
    assert plain(words) == words


def test_the_colours_of_a_log_are_taken_out_and_the_rest_of_it_stays() -> None:
    assert plain(uncoloured("\x1b[1;36m(Engine)\x1b[0m\x1b[K done")) == r"(Engine)\x1b[K done"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert cut("abc", 3) == "abc" and cut("abcdef", 3) == "abc ... (3 more characters)"
    assert one_line("a\nb\r\n\x1bc" + "x" * 1000, 10) == r"a b \x1bcx ... (999 more characters)"


def acts(text: str) -> list[str]:
    return [letter for letter in EACH if letter in text]


def test_nothing_acts_in_any_file_of_a_report(tmp_path: Path) -> None:
    write_report([everywhere(ACTING), result()], tmp_path, command=ACTING)
    names = {"index.html", "results.csv", "summary.md", "junit.xml", "results.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert acts(text) == [], name
        assert not [escape for escape in re.findall(r"\\u([0-9a-f]{4})", text) if chr(int(escape, 16)) in EACH], name
        assert "<U+202E>" in text or "&lt;U+202E&gt;" in text or "\\u003cU+202E\\u003e" in text, name
    assert acts(render([everywhere(ACTING)], title=ACTING, generated=ACTING, command=ACTING)) == []
    assert acts(markdown.summary([everywhere(ACTING)], command=ACTING, generated=ACTING)) == []


@pytest.mark.parametrize("terminal", [False, True], ids=["a pipe", "a terminal"])
def test_nothing_acts_on_a_terminal(terminal: bool) -> None:
    told = ACTING.replace("\ud800", "")
    console = Console(
        file=io.StringIO(), force_terminal=terminal, color_system="truecolor" if terminal else None, width=100
    )
    table = Table(told)
    table.add_row(told)
    for each in (told, Panel(told, title=told), table, case_panel(everywhere(told)), summary_table([everywhere(told)])):
        console.print(each)
    console.print(told, style="bold red")
    written = console.file.getvalue()
    assert "\x1b[1;31m" in written or not terminal
    assert acts(re.sub(r"\x1b\[[0-9;]*m", "", written)) == []
    assert r"\x1b[2J" in written and "<U+202E>" in written


FORMULAS = ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "＝1"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_cell_is_no_formula(formula: str) -> None:
    text = spreadsheet(overview([replace(result(), case=formula, layout=formula)]))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["case"].startswith("'") and row["layout"].startswith("'")
    assert row["case"] == f"'{plain(formula)}"


def test_numbers_of_a_table_stay_numbers() -> None:
    table = pd.DataFrame({"loss": [-1.5, None], "count": [-1, 2], "name": ["-", "a-b"]})
    assert spreadsheet(table) == "loss,count,name\n-1.5,-1,'-\n,2,a-b\n"


def test_a_link_beside_an_output_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "report.html").symlink_to(mine)
    (tmp_path / "lines.jsonl").symlink_to(mine)
    atomic.write_text(tmp_path / "report.html", "new")
    assert not (tmp_path / "report.html").is_symlink() and (tmp_path / "report.html").read_text() == "new"
    with pytest.raises(OSError, match="symbolic"):
        jsonl.append(tmp_path / "lines.jsonl", [1])
    assert mine.read_text() == "mine"


def test_the_file_beside_an_output_has_a_name_that_nobody_foresees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    monkeypatch.setattr(atomic.os, "replace", lambda source, target: names.append(source.name))
    for _ in range(20):
        atomic.write_text(tmp_path / "report.html", "new")
    assert len(set(names)) == 20 and list(tmp_path.iterdir()) == []


def test_a_failure_s_message_is_shown_as_it_is() -> None:
    told = json.loads(json.dumps(failed(message=r"C:\x1b").to_dict()))
    assert r"C:\x1b" in plain(told["diagnosis"])
