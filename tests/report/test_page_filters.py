"""Filters show exactly the cases that they say, and the section of a case goes with its row."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import inf

import pandas as pd
import pytest

from harness.report.html import anchors
from harness.report.tables import SETTING_COLUMNS, overview
from tests.report.page import Page
from tests.report.results import one_of_each, result, sixty

pytestmark = pytest.mark.browser

VERDICTS = ("DIVERGED", "ERROR", "FIXED", "KNOWN", "PASS")
SHOWN = """return [$$('#overview tbody tr').filter((row) => row.checkVisibility()).map((row) => row.dataset.case),
  $$('details.case').filter((section) => section.checkVisibility()).map((section) => section.id)]"""
CHOOSE = """const [select, value] = arguments;
  select.value = value;
  select.dispatchEvent(new Event('input', { bubbles: true }));"""


def table(results: list) -> pd.DataFrame:
    """The overview, with the name that each case has in the page as index."""
    made = overview(results)
    return made.set_index(pd.Index(anchors(made)))


EACH, SIXTY = table(one_of_each()), table(sixty())


def assert_shown(page: Page, expected: pd.DataFrame, of: pd.DataFrame) -> None:
    rows, sections = page.script(SHOWN)
    assert sorted(rows) == sorted(sections) == sorted(expected.index)
    assert page.element("#shown").text == f"{len(expected)} of {len(of)} shown"
    assert page.element("#none-shown").is_displayed() == expected.empty


def press(page: Page, verdict: str) -> None:
    page.element(f'.count[data-verdict="{verdict}"]').click()


def choose(page: Page, facet: str, value: str) -> None:
    page.script(CHOOSE, page.element(f'select[data-facet="{facet}"]'), value)


def choices(page: Page) -> dict[str, list[str]]:
    """What each drop-down list offers."""
    offered = (
        "return $$('select[data-facet]').map((list) => [list.dataset.facet, [...list.options].map((o) => o.value)])"
    )
    return dict(page.script(offered))


def with_facet(of: pd.DataFrame, facet: str, value: str) -> pd.DataFrame:
    if facet != "differs in":
        return of[of[facet] == value]
    types = of["differing_types"].str.split(", ")
    return of[of["differing_types"] == ""] if value == "no layer" else of[[value in names for names in types]]


def test_everything_is_shown_at_first(page: Page) -> None:
    assert_shown(page, EACH, EACH)


def test_verdicts_that_are_pressed_are_shown(page: Page) -> None:
    for pressed in (*combinations(VERDICTS, 1), *combinations(VERDICTS, 2), VERDICTS):
        for verdict in pressed:
            press(page, verdict)
        assert_shown(page, EACH[EACH["verdict"].isin(pressed)], EACH)
        for verdict in pressed:
            press(page, verdict)
        assert_shown(page, EACH, EACH)


@pytest.mark.parametrize(("name", "all_cases"), [("one of each", EACH), ("sixty", SIXTY)])
def test_each_choice_of_each_list_shows_its_cases(opened: Callable, name: str, all_cases: pd.DataFrame) -> None:
    page = opened(name)
    offered = choices(page)
    varying = {field for field in ("model", *SETTING_COLUMNS) if all_cases[field].nunique() > 1}
    assert set(offered) == varying | {"differs in"}
    for facet, values in offered.items():
        assert len(values) >= 3
        for value in filter(None, values):
            choose(page, facet, value)
            expected = with_facet(all_cases, facet, value)
            assert 0 < len(expected) < len(all_cases)
            assert_shown(page, expected, all_cases)
        choose(page, facet, "")


def test_layers_of_both_types_can_be_told_apart(opened: Callable) -> None:
    results = [result(case="equal"), result(case="one", policy="drop"), result(case="both", policy="everywhere")]
    page, all_cases = opened(results), table(results)
    for value, cases in (("sliding", ["one", "both"]), ("full", ["both"]), ("no layer", ["equal"])):
        choose(page, "differs in", value)
        assert_shown(page, all_cases[all_cases["case"].isin(cases)], all_cases)


def test_a_setting_with_unusual_blanks_and_quotes_can_be_chosen(opened: Callable) -> None:
    plain, odd = result(case="plain"), result(case="odd")
    odd = replace(odd, setting={**odd.setting, "mates": ["t3  i5", "\"a\" 'b' <c>"]})
    page, all_cases = opened([plain, odd]), table([plain, odd])
    choose(page, "mates", "t3  i5; \"a\" 'b' <c>")
    assert_shown(page, all_cases[all_cases["case"] == "odd"], all_cases)


def test_filters_hold_together_and_are_cleared_together(opened: Callable) -> None:
    page = opened("sixty")
    press(page, "DIVERGED")
    press(page, "KNOWN")
    choose(page, "mode", "compiled")
    page.element("#search").send_keys("IMAGE-of-1 tokens")
    both = SIXTY[SIXTY["verdict"].isin(["DIVERGED", "KNOWN"]) & (SIXTY["mode"] == "compiled")]
    expected = both[both["case"].str.startswith("image-of-1")]
    assert 0 < len(expected) < len(both) < len(SIXTY)
    assert_shown(page, expected, SIXTY)
    page.element("button[type=reset]").click()
    page.wait(lambda: page.element("#shown").text == "60 of 60 shown")
    assert_shown(page, SIXTY, SIXTY)


def test_a_filter_that_nothing_matches_says_so(page: Page) -> None:
    page.element("#search").send_keys("no such case")
    assert_shown(page, EACH[:0], EACH)


@pytest.mark.parametrize("heading", ["Logits", "Extra"])
def test_numbers_sort_as_numbers_and_what_is_not_finite_is_the_largest(opened: Callable, heading: str) -> None:
    off = [result(case=f"by-{shift:g}", policy="unclamped", layout=f"t3 i{soft} t4", shift=shift)
           for shift, soft in ((3e-4, 9), (20.0, 10), (1.0, 40))]  # fmt: skip
    page = opened([result(case="not-finite", shift=-inf), *off])
    (button,) = (button for button in page.elements(".sort") if button.text == heading)
    button.click()
    order = page.script("return $$('#overview tbody th a').map((link) => link.textContent)")
    assert (
        order
        == {
            "Logits": ["by-0.0003", "by-1", "by-20", "not-finite"],
            "Extra": ["not-finite", "by-0.0003", "by-20", "by-1"],
        }[heading]
    )
