"""A case's section: drawn when it is opened, with all that is known of the case."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import inf, nan
from pathlib import Path

import pytest

from harness.compare.result import Failure
from harness.errors import FailureKind
from tests.compare.test_agreement import LONG, three
from tests.report.page import Page
from tests.report.results import LINK, failed, one_of_each, result

pytestmark = pytest.mark.browser

BY_NAME = {entry.case: entry for entry in one_of_each()}
LABELS = """return $$('.xtick text, .ytick text, .y2tick text, .g-ytitle text, .g-y2title text', arguments[0])
  .map((label) => label.getBoundingClientRect().toJSON())"""
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("name", ["one of each", "sixty"])
def test_nothing_is_drawn_until_a_case_is_opened(opened: Callable, name: str) -> None:
    page = opened(name)
    assert page.elements("canvas, .plot, .case-body > *") == []
    page.open(page.element("details.case h3").text)
    filled = page.script("return $$('.case-body').map((body) => body.hasChildNodes())")
    assert filled == [True] + [False] * (len(filled) - 1)


def test_a_case_tells_what_is_known_of_it(page: Page) -> None:
    page.open_every_case()
    for name, entry in BY_NAME.items():
        text = page.case(name).text
        for told in (entry.title, entry.diagnosis, entry.layout, entry.reproduce, *entry.versions.values()):
            assert told in text
        assert all(f"{seconds:.2f} s" in text for seconds in entry.seconds.values())
        assert (LINK in text) == bool(entry.declared)


def test_a_layer_table_has_a_row_a_layer_and_marks_those_that_differ(page: Page) -> None:
    case = page.open("video-and-image")
    rows = [(row.text.split()[0], row.get_attribute("class")) for row in page.elements("section tbody tr", case)]
    assert rows == [("0", "differs"), ("1", "differs"), ("2", "")]


def test_a_failure_shows_its_stage_and_its_log(page: Page) -> None:
    case = page.open("image-last")
    assert page.element(".log", case).text == "Traceback\nRuntimeError: out of blocks"
    assert "Stage: serving (gone)" in case.text
    assert page.elements("canvas, .plot", case) == []


def test_the_strip_has_every_token_with_its_name(page: Page) -> None:
    case = page.open("two-images")
    titles = [cell.get_attribute("title") for cell in page.elements(".strip .token", case)]
    assert titles == [f"{token['position']}: {token['name']}" for token in BY_NAME["two-images"].tokens]
    kinds = {cell.text for cell in page.elements(".strip .token", case)}
    assert kinds == {"t", "[", "]", "1", "2"}


def test_the_plot_has_the_error_the_floor_the_bound_and_the_divergence(page: Page) -> None:
    case = page.open("two-images")
    assert len(page.elements(".plot .scatterlayer .trace", case)) == 4
    assert [entry.text for entry in page.elements(".plot .legendtext", case)] == [
        "max abs difference",
        "noise floor",
        "bound",
        "KL(reference ‖ serving)",
    ]


@pytest.mark.parametrize("width", [400, 1600])
def test_no_tick_of_a_plot_covers_another(page: Page, width: int) -> None:
    page.resize(width)
    page.open_every_case()
    plots = [page.script(LABELS, plot) for plot in page.elements(".plot")]
    assert len(plots) == 6
    for labels in plots:
        assert len(labels) >= 8
        assert not [pair for pair in combinations(labels, 2) if overlap(*pair)]


def test_the_command_is_shown_and_copied(page: Page) -> None:
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
    case = page.open("two-images")
    assert page.element(".command code", case).text == BY_NAME["two-images"].reproduce
    button = page.element(".command button", case)
    button.click()
    page.wait(lambda: button.text == "Copied")
    copied = "navigator.clipboard.readText().then(arguments[arguments.length - 1])"
    assert page.driver.execute_async_script(copied) == BY_NAME["two-images"].reproduce


def test_a_narrow_window_breaks_no_option_of_a_command(page: Page) -> None:
    page.resize(400)
    case = page.open("image-last")
    words_and_lines = (
        "return $$('.command .word', arguments[0]).map((word) => [word.textContent, word.getClientRects().length])"
    )
    words = {word: lines for word, lines in page.script(words_and_lines, case) if word.strip()}
    assert words == dict.fromkeys(BY_NAME["image-last"].reproduce.split(), 1)


def test_hostile_text_is_only_text(opened: Callable) -> None:
    error = Failure(HOSTILE, FailureKind.UNFORESEEN, HOSTILE, HOSTILE)
    told = {"case": "hostile", "title": HOSTILE, "diagnosis": HOSTILE, "layout": HOSTILE, "reproduce": HOSTILE}
    declared = {"policy": HOSTILE, "link": f"javascript:alert(1)//{HOSTILE}", "reason": HOSTILE}
    logits = result()
    hostile = replace(
        logits,
        **told,
        error=error,
        declared=declared,
        versions={HOSTILE: HOSTILE},
        extra={HOSTILE: [HOSTILE]},
        tokens=[{**token, "name": HOSTILE} for token in logits.tokens],
    )
    page = opened([hostile, failed()])
    case = page.open("hostile")
    assert page.elements("img, [onerror], a[href^=javascript]") == []
    assert page.element(".log", case).text == HOSTILE
    assert case.text.count(HOSTILE) >= 10


def test_values_that_are_not_finite_are_named(opened: Callable) -> None:
    case = opened([result(case="not-finite", shift=-inf)]).open("not-finite")
    assert "Largest absolute difference not finite at position 0" in case.text
    assert "at worst not finite times the noise floor" in case.text
    assert "No number on the serving side at 31 of 31 positions, the first is 0." in case.text


def test_a_reference_without_numbers_is_not_shown_as_no_difference(opened: Callable) -> None:
    case = opened([result(case="both", noise=nan)]).open("both")
    assert "No number on either side at 31 of 31 positions, the first is 0." in case.text


def overlap(a: dict, b: dict) -> bool:
    """Whether two rectangles share more than a pixel's rim."""
    return all(
        min(a[at] + a[size], b[at] + b[size]) - max(a[at], b[at]) > 1 for at, size in (("x", "width"), ("y", "height"))
    )


def test_a_further_reference_is_shown_beside_both_and_the_odd_one_is_named(opened: Callable, tmp_path: Path) -> None:
    page = opened([three(tmp_path, LONG, third="clamp-both")])
    case = page.open("case")
    agreement = page.elements("section.part table", case)[0]
    rows = page.elements("tbody tr", agreement)
    assert [row.get_attribute("class") for row in rows] == ["differs", ""]
    assert "official 4.0.1 stands alone with `clamp-both`" in rows[0].text
    assert "Policy of\nofficial 4.0.1" in case.text or "Policy of official 4.0.1" in case.text
    assert "against the reference 1 missing, 0 extra; against serving 1 missing, 0 extra" in case.text
    captions = [caption.text for caption in page.elements("figure.mask figcaption", case)]
    assert captions[:4] == ["Reference", "Serving", "Difference", "official 4.0.1"]
