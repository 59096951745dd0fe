"""Results as JUnit XML, which CI systems show as tests."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.files import atomic
from harness.report.extent import Extent
from harness.report.tables import counts, setting_label, total_seconds
from harness.text import plain, uncoloured


def write_junit(results: list[CaseResult], path: Path, extent: Extent | None = None) -> Path:
    """Write one testcase for each result.

    DIVERGED, FIXED and SURVIVED are failures, ERROR is an error; KNOWN passes and names its link in a property and in the
    output. A suite that is a part has a property that says so, and one that was not run to its end an error too, since what
    was not run would not be missed.
    """
    found = counts(results)
    ended = extent.sentence if extent and extent.ended else ""
    totals = {
        "tests": str(len(results) + bool(ended)),
        "failures": str(sum(count for verdict, count in found.items() if verdict.diverges)),
        "errors": str(found[Verdict.ERROR] + bool(ended)),
        "skipped": "0",
        "time": f"{sum(map(total_seconds, results)):.3f}",
    }
    root = ET.Element("testsuites", {"name": "harness", **totals})
    suite = ET.SubElement(root, "testsuite", {"name": "reference versus serving", **totals})
    if extent and extent.sentence:
        properties = ET.SubElement(suite, "properties")
        ET.SubElement(properties, "property", {"name": "part", "value": plain(extent.sentence)})
    for result in results:
        suite.append(_testcase(result))
    if extent and extent.ended:
        case = ET.SubElement(suite, "testcase", {"classname": "the run", "name": "is complete", "time": "0.000"})
        ET.SubElement(case, "error", {"type": "PART", "message": plain(ended)})
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
        error = result.error
        said = f"{error.stage}: {error.message}" if error else result.diagnosis
        kind = error.kind if error else result.verdict
        ET.SubElement(case, "error", {"type": kind.value, "message": plain(said)}).text = text
        ET.SubElement(case, "system-err").text = plain(uncoloured(error.log)) if error else ""
    elif result.verdict is Verdict.KNOWN:
        link = facts.get("link")
        ET.SubElement(case, "system-out").text = plain(
            f"declared divergence: {link}\n{result.diagnosis}" if link else result.diagnosis
        )
    return case
