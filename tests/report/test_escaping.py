"""Whatever text a case, a log or a command holds, it is text to whoever reads the report."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.compare.result import CaseResult, Failure
from harness.errors import FailureKind
from harness.report.html import embedded, render
from harness.report.junit import write_junit
from tests.report.results import failed

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; \u2028 \\u003c",
]


class Elements(HTMLParser):
    """The page as a browser takes it apart: its elements with their attributes, and the data of JSON scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, frozenset]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.found.append((tag, frozenset(name for name, _ in attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def everywhere(text: str) -> CaseResult:
    """A result that has ``text`` in every field that someone else writes."""
    told = dict.fromkeys(("case", "title", "layout", "diagnosis", "reproduce"), text)
    error = Failure(text, FailureKind.UNFORESEEN, text, text)
    setting = {**failed().setting, "label": text, "backend": text, "mates": [text]}
    return replace(failed(), **told, error=error, setting=setting, versions={text: text}, extra={text: text})


def page(result: CaseResult, told: str) -> Elements:
    return Elements(render([result, failed()], title=told, generated=told, command=told))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_an_element_or_an_attribute_to_the_page(text: str) -> None:
    assert page(everywhere(text), text).found == page(everywhere("harmless"), "harmless").found


@pytest.mark.parametrize("text", HOSTILE)
def test_every_text_is_in_the_page_as_it_is(text: str) -> None:
    texts = page(everywhere(text), text).texts
    data = next(json.loads(part) for part in texts if part.startswith('{"case"'))
    assert (data["title"], data["error"]["log"], data["reproduce"]) == (text, text, text)
    assert sum(part == text for part in texts) >= 6


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_json_has_no_character_that_html_reads(text: str) -> None:
    assert not set("<>&") & set(embedded({text: [text]}))
    assert json.loads(embedded({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_gives_the_text_back(tmp_path: Path, text: str) -> None:
    (case,) = ET.parse(write_junit([everywhere(text)], tmp_path / "junit.xml")).getroot().iter("testcase")
    assert (case.get("name"), case.get("classname"), case.findtext("system-err")) == (text, text, text)
    assert case.find("error").get("message") == f"{text}: {text}"
