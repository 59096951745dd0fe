"""A night as summary.md for a job's page, junit.xml, and an index.html with links to each part's report."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.campaigns.nightly import LOST, RAN, Check, Part
from harness.files import atomic
from harness.report.html import TEMPLATES
from harness.report.markdown import fence_for
from harness.text import plain

NOTES = {
    "properties": "Its report shows what these tests keep; the bugs of `cases/history` differ there because they are laid "
    "over on purpose.",
    "catalogue": "Its report shows each case under each setting.",
    "mutants": "Its report shows the layouts that caught them, which differ because the faults are planted.",
}
SHOWN, LINES, WIDTH = 10, 60, 400
"""How many checks of a part are shown, and how much of each: logs are long, and a job's page holds 1 MiB."""


def write_nightly(parts: list[Part], out: Path, generated: str, part_of: str = "") -> Path:
    """Write the three files; returns the path of index.html. ``part_of`` says of what part of a whole night they are."""
    atomic.write_text(out / "summary.md", summary(parts, out, generated, part_of))
    atomic.write_text(out / "junit.xml", junit(parts, part_of))
    reports = {part.name for part in parts if (out / part.name / "index.html").exists()}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters["plain"] = plain
    template = environment.get_template("nightly.html.j2")
    page = template.render(parts=parts, reports=reports, notes=NOTES, generated=generated, part_of=part_of)
    return atomic.write_text(out / "index.html", page)


def summary(parts: list[Part], out: Path, generated: str, part_of: str = "") -> str:
    """The counts of each part, what is wrong with it, and its own summary."""
    lines = ["# Night", ""]
    lines += [f"{generated}. Links lead to files beside this one: on a job's page, in its artifact.", ""]
    lines += [f"> **This is a part:** {part_of}.", ""] if part_of else []
    lines += ["| part | outcome | time | report |", "|---|---|---|---|"]
    for part in parts:
        found = " · ".join(f"**{count} {state}**" for state, count in part.counts.items())
        link = f"{part.name}/index.html"
        report = f"[{link}]({link})" if (out / link).exists() else "none"
        lines.append(f"| {part.name} | {found} | {part.seconds / 60:.1f} min | {report} |")
    lines += _places(parts)
    for part in parts:
        lines += ["", f"## {part.name.capitalize()}", ""]
        lines += [_entry(check) for check in part.wrong[:SHOWN]] or ["All as it should be.", ""]
        lines += [f"- and {len(part.wrong) - SHOWN} more", ""] if len(part.wrong) > SHOWN else []
        own = out / part.name / "summary.md"
        if own.exists():
            shown = re.sub("^# ", "### ", own.read_text(encoding="utf-8")).rstrip()
            lines += [NOTES[part.name], "", "<details><summary>its own summary</summary>", "", shown, "", "</details>"]
    return "\n".join(lines) + "\n"


def _places(parts: list[Part]) -> list[str]:
    """How many checks ran on each node of a cluster, and what was lost with one."""
    rows = [(part.name, node, count) for part in parts for node, count in part.nodes.items()]
    again = [(check.name, node) for part in parts for check in part.run_again for node in check.lost]
    lines = ["", "| part | node | checks |", "|---|---|---|"] if rows else []
    lines += [f"| {name} | {plain(node)} | {count} |" for name, node, count in rows]
    lines += ["", "Lost with a node, run again:", ""] if again else []
    return lines + [f"- {_code(name)}, with {plain(node)}" for name, node in again]


def _entry(check: Check) -> str:
    """A list item: the check, the layouts that show what is wrong, and the rest to be opened."""
    line = f"- **{check.state}** {_code(check.name)}" + "".join(f", {_code(layout)}" for layout in check.layouts)
    lines = [each[:WIDTH] for each in plain(check.text).strip().splitlines()]
    text = "\n".join(lines if len(lines) <= LINES else [*lines[: LINES // 2], "...", *lines[-LINES // 2 :]])
    fence = fence_for(text, least=3)
    block = f"<details><summary>what was seen</summary>\n\n{fence}text\n{text}\n{fence}\n\n</details>"
    return line + "\n\n" + "\n".join(f"  {each}".rstrip() for each in block.splitlines()) + "\n"


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', chr(39))}`"


def junit(parts: list[Part], part_of: str = "") -> str:
    """One testsuite for each part: a failure for what differs, an error for what gave no answer."""
    root = ET.Element("testsuites", {"name": "night"})
    for part in parts:
        codes = [check.code for check in part.checks]
        totals = {
            "tests": str(len(codes)),
            "failures": str(codes.count(1)),
            "errors": str(codes.count(3)),
            "skipped": str(part.counts.get("SKIPPED", 0)),
            "time": f"{part.seconds:.3f}",
        }
        suite = ET.SubElement(root, "testsuite", {"name": part.name, **totals})
        if part_of:
            ET.SubElement(ET.SubElement(suite, "properties"), "property", {"name": "part", "value": plain(part_of)})
        for check in part.checks:
            case = ET.SubElement(suite, "testcase", {"classname": part.name, "name": plain(check.name)})
            if check.node:
                noted = ET.SubElement(case, "properties")
                for name, value in ((RAN, check.node), *((LOST, one) for one in check.lost)):
                    ET.SubElement(noted, "property", {"name": name, "value": plain(value)})
            if check.code:
                first = next(iter(check.text.strip().splitlines()), "")
                message = {"type": check.state, "message": plain(f"{check.state}: {first}")}
                ET.SubElement(case, "error" if check.code == 3 else "failure", message).text = plain(check.text)
            elif check.state == "SKIPPED":
                ET.SubElement(case, "skipped")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
