"""The Markdown summary, read as a Markdown reader reads it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.compare.result import CaseResult, on_node
from harness.compare.verdict import Verdict
from harness.report.markdown import ROWS, summary
from harness.report.tables import gravest_first, overview
from harness.text import plain
from tests.report.results import LINK, one_of_each, result

READER = MarkdownIt("commonmark").enable("table")
DIVERGED = result(policy="causal", shift=0.5)
hostile = st.text(st.sampled_from("ab`|<>&\\*_[]()!~#- \n\x1b\x00"), max_size=12)


def tokens(results: list[CaseResult], command: str = "harness report") -> list[Token]:
    return READER.parse(summary(results, command=command, generated="today"))


def text(inline: Token) -> str:
    return "".join(child.content for child in inline.children if child.type in ("text", "code_inline"))


def rows(found: list[Token]) -> Iterator[list[str]]:
    """The cells of each row of the table's body as text."""
    body = found[[token.type for token in found].index("tbody_open") :]
    cells: list[str] = []
    for token, inside in pairwise(body):
        if token.type == "td_open":
            cells.append(text(inside) if inside.type == "inline" else "")
        elif token.type == "tr_close":
            yield cells
            cells = []


def bare(words: str) -> str:
    """Without what a code span takes away: its backticks, and blanks at its ends."""
    return re.sub(r"[`\s]", "", words)


def markup(found: list[Token]) -> set[str]:
    inline = (child for token in found for child in token.children or ())
    return {token.type for token in (*found, *inline)} - {"text", "code_inline", "softbreak"}


def test_only_results_that_did_not_pass_have_a_row_the_gravest_first() -> None:
    noted = [entry for entry in gravest_first(one_of_each()) if entry.verdict is not Verdict.PASS]
    shown = list(rows(tokens(one_of_each())))
    assert [cells[:2] for cells in shown] == [[entry.verdict.value, entry.case] for entry in noted]
    assert [cells[3] for cells in shown] == [entry.layout for entry in noted]


def test_the_counts_name_only_verdicts_that_occurred() -> None:
    lines = summary([result(), result()], command="harness report", generated="today").splitlines()
    assert lines[2] == "**2 PASS**"
    assert not any(line.startswith("|") for line in lines)


def test_a_known_divergence_has_its_link_and_is_not_to_be_reproduced() -> None:
    known = next(entry for entry in one_of_each() if entry.verdict is Verdict.KNOWN)
    ((*_, diagnosis),) = rows(tokens([known]))
    assert LINK in diagnosis
    assert not any(token.type == "fence" for token in tokens([known]))


def test_logits_that_are_off_are_in_the_row() -> None:
    only_logits = result(case="short-image", shift=-1.0)
    ((*_, diagnosis),) = rows(tokens([only_logits]))
    assert re.search(r"logits off by \d\S* times the noise floor, 4 allowed$", diagnosis)


def test_each_command_that_reproduces_a_failure_stands_once() -> None:
    results = one_of_each()
    (fence,) = (token for token in tokens([*results, *results]) if token.type == "fence")
    failures = [entry for entry in gravest_first(results) if entry.verdict not in (Verdict.PASS, Verdict.KNOWN)]
    assert fence.content.splitlines() == [entry.reproduce for entry in failures]
    assert fence.info == "sh"


def test_more_results_than_a_job_page_holds_are_counted() -> None:
    found = tokens([DIVERGED] * (ROWS + 7))
    assert len(list(rows(found))) == ROWS
    assert "7 more are in index.html." in [text(token) for token in found if token.type == "inline"]


@given(title=hostile, diagnosis=hostile, layout=hostile)
@example(title="</script><img src=x onerror=alert(1)>", diagnosis="`a|b` | <b> `", layout="t3 `i5` | t4")
@example(title="`", diagnosis="``<b>`", layout="``<b>`")
@example(title="a_b_c _d_", diagnosis="`window[0]` and `x < y & z`, *no* \\| _more_", layout="\\")
def test_no_text_changes_the_table_and_every_text_is_shown(title: str, diagnosis: str, layout: str) -> None:
    changed = replace(DIVERGED, case=title, diagnosis=diagnosis, layout=layout, logits=None)
    found = tokens([changed])
    (cells,) = rows(found)
    assert len(cells) == 5
    assert [bare(cells[index]) for index in (1, 3, 4)] == [bare(plain(words)) for words in (title, layout, diagnosis)]
    assert markup(found) <= markup(tokens([replace(DIVERGED, logits=None)]))


@pytest.mark.parametrize("command", ["harness report --only 'a|b'", "echo `date` <x>", "``", "harness `a` ``b``"])
def test_commands_are_shown_as_they_are(command: str) -> None:
    found = tokens([replace(DIVERGED, reproduce=command)], command=command)
    assert any(
        child.content == command for token in found for child in token.children or () if child.type == "code_inline"
    )
    (fence,) = (token for token in found if token.type == "fence")
    assert fence.content == command + "\n"


def test_a_command_cannot_end_the_block_it_stands_in() -> None:
    command = "harness run --layout '\n```\n<img src=x>'"
    (fence,) = (token for token in tokens([replace(DIVERGED, reproduce=command)]) if token.type == "fence")
    assert fence.content == command + "\n"


def test_a_cluster_s_results_say_where_they_came_from() -> None:
    where = "a|b (10.0.0.1)"
    assert [row[-1] for row in rows(tokens([on_node(DIVERGED, where), DIVERGED]))] == [where, ""]
    assert len(next(rows(tokens([DIVERGED])))) == 5
    assert list(overview([on_node(DIVERGED, where), DIVERGED])["node"].fillna("")) == [where, ""]
    assert "node" not in overview([DIVERGED])
