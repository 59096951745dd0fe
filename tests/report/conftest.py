"""A headless Chromium for the tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.compare.result import CaseResult
from harness.report.html import write_html
from tests.report.page import Page
from tests.report.results import one_of_each, sixty

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A selenium driver; skips where selenium, chromium or chromedriver is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    missing = [program for program in ("chromium", "chromedriver") if not shutil.which(program)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    profile: Path = tmp_path_factory.mktemp("profile")
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of `one_of_each` and `sixty`."""
    made = {"one of each": one_of_each(), "sixty": sixty()}
    return {name: write_page(results, tmp_path_factory.mktemp("page")) for name, results in made.items()}


@pytest.fixture
def opened(chromium, written: dict[str, Path], tmp_path: Path) -> Iterator[Callable[[str | list[CaseResult]], Page]]:
    """A function that opens a page in a window of 1600 by 1000; in the end the console must have no errors."""
    page = Page(chromium)
    page.forget()

    def show(what: str | list[CaseResult]) -> Page:
        page.show(written[what] if isinstance(what, str) else write_page(what, tmp_path))
        return page

    yield show
    assert page.errors() == []


@pytest.fixture
def page(opened: Callable) -> Page:
    """The page of `one_of_each`."""
    return opened("one of each")


def write_page(results: list[CaseResult], directory: Path) -> Path:
    return write_html(
        results, directory / "index.html", title="Reference versus serving", generated="now", command="run"
    )
