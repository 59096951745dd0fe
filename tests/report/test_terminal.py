"""What a terminal shows."""

import io
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest
from rich.console import RenderableType

from harness.compare.result import CaseResult
from harness.console import Console
from harness.report.terminal import LOG_LINES, case_panel, reproduce_line, summary_table
from tests.compare.test_agreement import LONG, three
from tests.report.results import LINK, failed, one_of_each, result

EACH = one_of_each()


def shown(renderable: RenderableType, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()


def test_the_summary_has_a_line_a_result_the_gravest_first_and_the_counts() -> None:
    lines = shown(summary_table(EACH)).splitlines()
    verdicts = [line.split()[0] for line in lines if line.split() and line.split()[0].isupper()]
    assert verdicts == ["DIVERGED"] * 3 + ["ERROR", "FIXED", "KNOWN", "PASS"]
    assert lines[-1].strip() == "3 DIVERGED, 1 ERROR, 1 FIXED, 1 KNOWN, 1 PASS"


@pytest.mark.parametrize("one", EACH, ids=lambda one: one.case)
def test_a_panel_has_the_diagnosis_and_the_command(one: CaseResult) -> None:
    text = shown(case_panel(one))
    assert one.verdict.value in text and one.layout in text
    assert one.diagnosis.split(";")[0][:80] in text
    assert shown(reproduce_line(one), 60) == f"reproduce  {one.reproduce}\n"


def test_a_known_divergence_has_its_link() -> None:
    (known,) = (one for one in EACH if one.declared and one.verdict.value == "KNOWN")
    assert LINK in shown(case_panel(known))


def test_an_error_has_the_end_of_its_log() -> None:
    text = shown(case_panel(failed(log="\n".join(f"line {number}." for number in range(LOG_LINES + 5)))))
    assert "failed in stage serving (gone)" in text
    assert f"line {LOG_LINES + 4}." in text and "line 5." in text
    assert "line 4." not in text


def test_brackets_are_no_markup_and_colours_of_a_log_are_taken_out() -> None:
    marked = replace(result(), case="[red]x[/red]", diagnosis="[bold]y", reproduce="run [/] z")
    for renderable in (case_panel(marked), summary_table([marked])):
        assert "[red]x[/red]" in shown(renderable)
    assert "[bold]y" in shown(case_panel(marked)) and "run [/] z" in shown(reproduce_line(marked))
    assert "plain words" in shown(case_panel(failed(log="\x1b[31mplain\x1b[0m words")))


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_cuts_nothing_off(width: int) -> None:
    assert "…" not in shown(summary_table(EACH), width)
    for one in EACH:
        assert "…" not in shown(case_panel(one), width)


@pytest.mark.parametrize(("noise", "shift", "side"), [(nan, 0.0, "either side"), (1e-6, -inf, "the serving side")])
def test_positions_without_numbers_are_told(noise: float, shift: float, side: str) -> None:
    panel = shown(case_panel(result(noise=noise, shift=shift)), width=400)
    assert f"no number on {side} at 31 positions, the first is 0" in panel


def test_a_further_reference_has_a_column_that_80_characters_hold(tmp_path: Path) -> None:
    lines = shown(case_panel(three(tmp_path, LONG, third="clamp-both")), width=80).splitlines()
    assert any("official" in line and "stands" not in line for line in lines)
    rows = [line.split()[1:6] for line in lines if " sliding  clamp" in line]
    assert rows == [[str(layer), "sliding", "clamp", "clamp", "clamp-both"] for layer in (0, 1)]
