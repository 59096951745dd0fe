"""JUnit XML: what a CI system counts as failure, error and pass."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.compare.result import CaseResult
from harness.report.junit import write_junit
from tests.report.results import LINK, failed, one_of_each


def written(results: list[CaseResult], directory: Path) -> ET.Element:
    return ET.parse(write_junit(results, directory / "junit.xml")).getroot()


@pytest.fixture
def testcases(tmp_path: Path) -> dict[str, ET.Element]:
    """The testcase of each of `one_of_each`, by the case's name."""
    return {case.get("name"): case for case in written(one_of_each(), tmp_path).iter("testcase")}


def outcome(case: ET.Element) -> str:
    return next((name for name in ("failure", "error", "skipped") if case.find(name) is not None), "passed")


def properties(case: ET.Element) -> dict[str, str]:
    return {entry.get("name"): entry.get("value") for entry in case.iter("property")}


def test_every_verdict_has_its_outcome(testcases: dict[str, ET.Element]) -> None:
    outcomes = {(properties(case)["verdict"], outcome(case)) for case in testcases.values()}
    assert outcomes == {
        ("PASS", "passed"),
        ("KNOWN", "passed"),
        ("FIXED", "failure"),
        ("DIVERGED", "failure"),
        ("ERROR", "error"),
    }


def test_totals_are_those_of_the_testcases(tmp_path: Path) -> None:
    root = written(one_of_each(), tmp_path)
    cases = list(root.iter("testcase"))
    for element in (root, root.find("testsuite")):
        assert int(element.get("tests")) == len(cases) == 7
        for total, name in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(element.get(total)) == sum(outcome(case) == name for case in cases)
        assert float(element.get("time")) == pytest.approx(sum(float(case.get("time")) for case in cases))


def test_a_known_divergence_passes_with_its_link(testcases: dict[str, ET.Element]) -> None:
    known = testcases["two-images"]
    assert properties(known)["link"] == LINK
    assert LINK in known.findtext("system-out")
    assert "link" not in properties(testcases["image-first"])


def test_a_failure_has_the_diagnosis_and_the_command(testcases: dict[str, ET.Element]) -> None:
    by_name = {result.case: result for result in one_of_each()}
    failures = {name: case.find("failure") for name, case in testcases.items() if outcome(case) == "failure"}
    assert failures
    for name, failure in failures.items():
        assert failure.get("type") == by_name[name].verdict.value
        assert failure.get("message") == by_name[name].diagnosis
        assert failure.text.endswith(by_name[name].reproduce)


def test_an_error_names_its_stage_and_kind_and_keeps_the_log(testcases: dict[str, ET.Element]) -> None:
    error = testcases["image-last"]
    assert error.find("error").get("type") == "gone"
    assert error.find("error").get("message") == "serving: the serving driver died (signal 9)"
    assert error.findtext("system-err") == "Traceback\nRuntimeError: out of blocks"


def test_a_log_with_colours_and_control_characters_is_valid_xml(tmp_path: Path) -> None:
    (case,) = written([failed(log="\x1b[31mred\x1b[0m\r\nbell \x07, nul \x00, half \ud800, ]]> & <b>")], tmp_path).iter(
        "testcase"
    )
    assert case.findtext("system-err") == "red\nbell \\x07, nul \\x00, half <U+D800>, ]]> & <b>"


def test_the_setting_is_the_class_so_that_a_case_under_two_settings_is_two_tests(
    testcases: dict[str, ET.Element],
) -> None:
    assert testcases["image-last"].get("classname") == "cpu auto float32"
    assert testcases["two-images"].get("classname") == "triton v2 float32"


def test_nothing_run_is_no_failure(tmp_path: Path) -> None:
    root = written([], tmp_path)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("0", "0", "0")
