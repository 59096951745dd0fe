"""Results as JUnit XML, which CI systems show as tests."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.files import atomic
from harness.report.tables import counts, setting_label, total_seconds
from harness.text import plain, uncoloured


def write_junit(results: list[CaseResult], path: Path) -> Path:
    """Write one testcase for each result.

    DIVERGED and FIXED are failures, ERROR is an error; KNOWN passes and names its link in a
    property and in the output.
    """
    found = counts(results)
    totals = {
        "tests": str(len(results)),
        "failures": str(sum(count for verdict, count in found.items() if verdict.diverges)),
        "errors": str(found[Verdict.ERROR]),
        "skipped": "0",
        "time": f"{sum(map(total_seconds, results)):.3f}",
    }
    root = ET.Element("testsuites", {"name": "harness", **totals})
    suite = ET.SubElement(root, "testsuite", {"name": "reference versus serving", **totals})
    for result in results:
        suite.append(_testcase(result))
    ET.indent(root)
    return atomic.write_text(path, ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n")


def _testcase(result: CaseResult) -> ET.Element:
    identity = {"classname": setting_label(result), "name": plain(result.case), "time": f"{total_seconds(result):.3f}"}
    case = ET.Element("testcase", identity)
    properties = ET.SubElement(case, "properties")
    facts = {"verdict": result.verdict.value, "layout": result.layout, "reproduce": result.reproduce}
    if result.declared:
        facts["link"] = result.declared.get("link", "")
    for name, value in facts.items():
        ET.SubElement(properties, "property", {"name": name, "value": plain(value)})
    text = plain(f"{result.diagnosis}\n\nreproduce: {result.reproduce}")
    if result.verdict.diverges:
        ET.SubElement(case, "failure", {"type": result.verdict.value, "message": plain(result.diagnosis)}).text = text
    elif result.verdict is Verdict.ERROR:
        error = result.error or {}
        message = plain(f"{error.get('stage', 'unknown stage')}: {error.get('message', result.diagnosis)}")
        ET.SubElement(case, "error", {"type": "ERROR", "message": message}).text = text
        ET.SubElement(case, "system-err").text = plain(uncoloured(error.get("log", "")))
    elif result.verdict is Verdict.KNOWN:
        ET.SubElement(case, "system-out").text = plain(
            f"declared divergence: {facts.get('link', '')}\n{result.diagnosis}"
        )
    return case
