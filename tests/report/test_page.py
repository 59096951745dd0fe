"""The page opens fast, without errors, and asks for nothing but itself."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.report.html import anchors, write_html
from harness.report.tables import gravest_first, overview
from tests.report.page import Page
from tests.report.results import LINK, one_of_each, sixty

pytestmark = pytest.mark.browser

OPENS_WITHIN = 5.0
"""Seconds in which a page of sixty cases can be read and filtered, on two shared cores."""


def test_every_result_has_a_row_and_a_section_the_gravest_first(page: Page) -> None:
    expected = [entry.case for entry in gravest_first(one_of_each())]
    assert page.script("return $$('#overview tbody th a').map((link) => link.textContent)") == expected
    assert page.script("return $$('details.case h3').map((heading) => heading.textContent)") == expected
    numbers = page.script("return $$('.count').map((count) => count.innerText.split(/\\s+/).slice(0, 2))")
    assert numbers == [["3", "DIVERGED"], ["1", "ERROR"], ["1", "FIXED"], ["1", "KNOWN"], ["1", "PASS"]]


def test_everything_opened_asks_for_nothing_but_the_page(page: Page, written: dict) -> None:
    page.open_every_case()
    asked = [address for address in page.requests() if not address.startswith(("data:", "blob:"))]
    assert [address for address in asked if address != "about:blank"] == [written["one of each"].as_uri()]


def test_only_links_to_issues_lead_out_of_the_page(page: Page) -> None:
    page.open_every_case()
    outside = """return $$('[src], [href], [data], [action], [srcset], [poster]').flatMap((node) =>
      ['src', 'href', 'data', 'action', 'srcset', 'poster'].map((name) => [node.localName, node.getAttribute(name)]))
      .filter(([, address]) => address !== null && !address.startsWith('#'))"""
    assert {tuple(pair) for pair in page.script(outside)} == {("a", LINK)}


def test_a_policy_of_the_page_forbids_requests(page: Page) -> None:
    refused = """const done = arguments[arguments.length - 1];
      document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), { once: true });
      fetch('https://example.org/').catch(() => {});"""
    assert page.driver.execute_async_script(refused) == "connect-src"
    assert all("https://example.org/" in error for error in page.errors())


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1600])
def test_a_part_says_so_above_the_overview(chromium, tmp_path: Path, width: int, theme: str) -> None:
    facts = {
        "title": "Reference versus serving",
        "generated": "now",
        "command": "run",
        "part": "interrupted by SIGTERM, 18 of 42 <results>",
    }
    page = Page(chromium)
    page.show(write_html(one_of_each(), tmp_path / "index.html", **facts), width=width, theme=theme)
    note = page.element(".part")
    assert note.text == "This is a part: interrupted by SIGTERM, 18 of 42 <results>."
    assert page.driver.title == "Part: Reference versus serving"
    place = note.rect
    assert place["x"] >= 0 and place["x"] + place["width"] <= width
    assert place["y"] + place["height"] < page.element("#overview-title").rect["y"]


def test_sixty_cases_open_within_seconds(opened: Callable, written: dict) -> None:
    assert len(sixty()) == 60
    start = time.perf_counter()
    page = opened("sixty")
    page.wait(lambda: page.element("#shown").text == "60 of 60 shown")
    page.element('.count[data-verdict="KNOWN"]').click()
    page.wait(lambda: page.element("#shown").text != "60 of 60 shown")
    assert time.perf_counter() - start < OPENS_WITHIN
    assert len(page.elements("details.case")) == 60


def test_each_row_leads_to_its_own_case(opened: Callable) -> None:
    page = opened("sixty")
    rows = page.script(
        """return $$('#overview tbody tr').map((row) => {
             const section = document.getElementById(row.querySelector('a').hash.slice(1));
             return [row.querySelector('a').textContent, row.cells[3].firstChild.textContent.trim(),
               section.querySelector('h3').textContent, section.querySelector('.case-setting').textContent];
           })"""
    )
    assert len({tuple(row) for row in rows}) == 60
    assert all(row[:2] == row[2:] for row in rows)


def test_a_click_on_a_row_and_an_address_open_the_case(page: Page, written: dict) -> None:
    name = "image-last"
    (anchor,) = (a for a, r in zip(anchors(overview(one_of_each())), one_of_each(), strict=True) if r.case == name)
    page.element(f'#overview a[href="#{anchor}"]').click()
    page.wait(lambda: page.case(name).get_attribute("open"))
    page.driver.get("about:blank")
    page.driver.get(f"{written['one of each'].as_uri()}#{anchor}")
    assert page.wait(lambda: page.drawn(page.case(name)))


def test_a_table_sorts_by_a_heading_there_and_back(page: Page) -> None:
    order = "return $$('#overview tbody th a').map((link) => link.textContent)"
    expected = sorted(result.case for result in one_of_each())
    (case,) = (button for button in page.elements(".sort") if button.text == "Case")
    case.click()
    assert page.script(order) == expected
    case.click()
    assert page.script(order) == expected[::-1]
