"""What a night comes to, from the files that its parts leave; no engine is started."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.campaigns import mutation_matrix
from harness.campaigns.nightly import Check, Part, ended
from harness.compare.verdict import Verdict
from harness.drivers.process import ROOT
from harness.report.files import write_report
from harness.report.nightly import SHOWN, summary, write_nightly
from tests.cli.command import harness
from tests.report.results import one_of_each

TESTS = """
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.report.results import failed

def seen(n):
    return f"DIVERGED: they differ\\nlayout: t3 i{n}\\n  0 t #.\\nreproduce: harness run --layout 't3 i{n}'"

@given(n=st.integers(0, 40))
def test_shrinks(n): assert n < 9, seen(n)

@settings(suppress_health_check=list(HealthCheck))
@given(n=st.integers(0, 40))
def test_died(harness_expect, n): harness_expect([failed(message=f"t3 i{n}")] if n >= 9 else [])

@pytest.fixture
def no_vllm(): pytest.fail("vllm is not installed", pytrace=False)

def test_no_engine(no_vllm): pass
def test_raises(): raise IndexError("a list")
def test_bare(): assert 1 == 2
def test_skipped(): pytest.skip("not here")
def test_holds(): pass
"""


def outcome(name: str, **facts) -> dict:
    usual = {"sentence": "a fault", "diagnosis": "", "layouts": [], "right": True, "node": ""}
    return {**usual, "caught_by": None, "equivalent": "", "refused": "", "error": None, "mutant": name, **facts}


def mutants(folder: Path, *outcomes: dict, exit_code: int = 0) -> Part:
    folder.mkdir(parents=True, exist_ok=True)
    document = mutation_matrix.document(outcomes, "harness mutants", len(outcomes))
    (folder / mutation_matrix.FILE).write_text(json.dumps(document))
    return ended("mutants", folder, exit_code, 1.0)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Part:
    """The part properties, of tests that pytest really ran."""
    folder = tmp_path_factory.mktemp("properties")
    (folder / "test_here.py").write_text(TESTS)
    words = ["-p", "no:cacheprovider", "-q", "--junitxml", "tests.xml", "test_here.py"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=folder, env=env, capture_output=True, check=False
    )
    return ended("properties", folder, done.returncode, 2.0)


def test_a_property_that_does_not_hold_is_told_from_one_that_got_no_answer(tested: Part) -> None:
    states = {check.name.partition("::test_")[2]: check.state for check in tested.checks}
    assert states == {
        "shrinks": "DIVERGED",
        "died": "ERROR",
        "no_engine": "ERROR",
        "raises": "ERROR",
        "bare": "DIVERGED",
        "skipped": "SKIPPED",
        "holds": "PASS",
    }
    assert tested.code == 3
    assert tested.counts == {"ERROR": 3, "DIVERGED": 2, "SKIPPED": 1, "PASS": 1}


def test_the_summary_has_the_failed_test_and_its_shrunk_layout(tested: Part, tmp_path: Path) -> None:
    write_nightly([tested], tmp_path, "now")
    text = (tmp_path / "summary.md").read_text()
    assert "- **DIVERGED** `test_here::test_shrinks`, `t3 i9`\n" in text
    assert "reproduce: harness run --layout 't3 i9'" in text
    assert "vllm is not installed" in text and "test_holds" not in text
    assert text.index("test_died") < text.index("test_shrinks")
    assert "| properties | **3 ERROR** · **2 DIVERGED** · **1 SKIPPED** · **1 PASS** | 0.0 min | none |" in text


@pytest.mark.parametrize(
    ("verdicts", "process", "code"),
    [
        (["PASS", "KNOWN"], 0, 0),
        (["PASS", "DIVERGED"], 1, 1),
        (["FIXED"], 1, 1),
        (["DIVERGED", "ERROR"], 3, 3),
        (["PASS"], 1, 3),
        (["DIVERGED"], 130, 3),
        (["PASS"], -9, 3),
        ([], 0, 3),
    ],
)
def test_the_catalogue_by_its_verdicts_and_an_end_that_they_do_not_explain(
    tmp_path: Path, verdicts: list[str], process: int, code: int
) -> None:
    each = {result.verdict: result for result in one_of_each()}
    write_report([each[Verdict(verdict)] for verdict in verdicts], tmp_path, command="harness report")
    assert ended("catalogue", tmp_path, process, 1.0).code == code


@pytest.mark.parametrize("left", [None, "", "[", "{}", "[{}]"])
@pytest.mark.parametrize("name", ["properties", "catalogue", "mutants"])
def test_a_part_that_left_nothing_that_can_be_read_is_an_error(tmp_path: Path, name: str, left: str | None) -> None:
    if left is not None:
        for file in ("tests.xml", "results.json", "mutation-matrix.json"):
            (tmp_path / file).write_text(left)
    part = ended(name, tmp_path, 0, 1.0)
    assert part.code == 3
    assert [check.name for check in part.checks] == [f"the part {name}"]


@pytest.mark.parametrize(
    ("facts", "process", "state", "code"),
    [
        ({"caught_by": "masks", "diagnosis": "they differ"}, 0, "CAUGHT", 0),
        ({"refused": "fits vLLM <0.33"}, 0, "REFUSED", 0),
        ({"equivalent": "no pair changes"}, 0, "EQUIVALENT", 0),
        ({"right": False}, 1, "SURVIVED", 1),
        ({"right": False, "error": {"stage": "serving", "message": "it died", "log": "..."}}, 3, "ERROR", 3),
        ({"equivalent": "no pair changes", "caught_by": "masks", "right": False}, 1, "NOT EQUIVALENT", 1),
    ],
)
def test_only_a_mutant_that_is_not_right_counts(
    tmp_path: Path, facts: dict, process: int, state: str, code: int
) -> None:
    part = mutants(tmp_path, outcome("one", **facts), outcome("other", caught_by="probe"), exit_code=process)
    assert (part.checks[0].state, part.code) == (state, code)


def test_results_of_mutants_diverge_and_the_night_passes(tmp_path: Path) -> None:
    write_report(one_of_each(), tmp_path / "mutants", command="harness mutants")
    part = mutants(tmp_path / "mutants", outcome("window-plus-one", caught_by="masks"))
    write_nightly([part], tmp_path, "now")
    assert part.code == 0
    assert ET.parse(tmp_path / "junit.xml").find("testsuite").get("failures") == "0"
    assert "All as it should be." in (tmp_path / "summary.md").read_text()


def test_junit_has_one_suite_a_part_with_failures_and_errors_apart(tested: Part, tmp_path: Path) -> None:
    survivor = mutants(tmp_path / "mutants", outcome("one", right=False), exit_code=1)
    write_nightly([tested, survivor], tmp_path, "now")
    first, second = ET.parse(tmp_path / "junit.xml").getroot()
    counted = [first.get(name) for name in ("name", "tests", "failures", "errors", "skipped")]
    assert counted == ["properties", "7", "2", "3", "1"]
    assert [len(list(first.iter(tag))) for tag in ("testcase", "failure", "error", "skipped")] == [7, 2, 3, 1]
    assert second.find("testcase/failure").get("message") == "SURVIVED: a fault"


def test_where_each_check_ran_and_what_a_lost_node_cost_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "mutants"
    folder.mkdir()
    outcomes = [
        outcome("one", caught_by="masks", node="a (10.0.0.1)"),
        outcome("two", caught_by="masks", node="b (10.0.0.2)"),
    ]
    lost = [{"cell": "two", "node": "c (10.0.0.3)", "at": "now"}]
    document = mutation_matrix.document(outcomes, "harness mutants", 2, lost)
    (folder / mutation_matrix.FILE).write_text(json.dumps(document))
    part = ended("mutants", folder, 0, 1.0)
    assert part.nodes == {"a (10.0.0.1)": 1, "b (10.0.0.2)": 1}
    page = write_nightly([part], tmp_path, "now").read_text()
    text = (tmp_path / "summary.md").read_text()
    assert "| mutants | b (10.0.0.2) | 1 |\n" in text and "- `two`, with c (10.0.0.3)\n" in text
    assert "<td>b (10.0.0.2)</td><td>1</td>" in page and "<code>two</code>, with c (10.0.0.3)" in page
    said = {one.get("value") for one in ET.parse(tmp_path / "junit.xml").iter("property")}
    assert said == {"a (10.0.0.1)", "b (10.0.0.2)", "c (10.0.0.3)"}


def test_index_links_the_reports_that_are_there(tested: Part, tmp_path: Path) -> None:
    write_report(one_of_each(), tmp_path / "mutants", command="harness mutants")
    index = write_nightly([tested, mutants(tmp_path / "mutants", outcome("<one>"))], tmp_path, "now")
    assert 'href="mutants/index.html"' in index.read_text() and 'href="properties/' not in index.read_text()
    assert "[mutants/index.html](mutants/index.html)" in (tmp_path / "summary.md").read_text()


def test_the_index_names_what_is_wrong(tested: Part, tmp_path: Path) -> None:
    survived = mutants(
        tmp_path / "mutants", outcome("<one>", right=False), outcome("two", caught_by="masks"), exit_code=1
    )
    page = write_nightly([tested, survived], tmp_path, "now").read_text()
    shown = re.findall(r"<li>\s*<strong>(.*?)</strong> <code>(.*?)</code>(?:, <code>(.*?)</code>)?", page)
    assert [(state, unescape(name)) for state, name, _ in shown] == [
        (c.state, c.name) for c in tested.wrong + survived.wrong
    ]
    assert ("DIVERGED", "test_here::test_shrinks", "t3 i9") in shown
    assert "vllm is not installed" in page and "test_holds" not in page and "<one>" not in page


def test_the_summary_of_a_very_bad_night_fits_a_job_page(tmp_path: Path) -> None:
    seen = "\n".join(["ERROR: it died", *["```" * 2000] * 500, "reproduce: harness run"])
    checks = tuple(Check(f"test[{index}]", "ERROR", seen) for index in range(3000))
    text = summary([Part(name, checks, 1.0) for name in ("properties", "catalogue", "mutants")], tmp_path, "now")
    assert len(text.encode()) < 2**20
    assert text.count("- **ERROR**") == 3 * SHOWN and f"and {3000 - SHOWN} more" in text
    assert text.count("ERROR: it died\n") == text.count("reproduce: harness run\n") == 3 * SHOWN


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "weekly"], ("profile", "'weekly'", "dev, ci, nightly")),
        (["--only", "soak"], ("only", "'soak'", "properties, catalogue, mutants")),
    ],
)
def test_a_bad_option_ends_with_2_and_one_line(words: list[str], said: tuple[str, ...]) -> None:
    done = harness("nightly", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1 and done.err.startswith("error: ")
    assert all(word in done.err for word in said)
