"""Results as a Markdown summary, for a CI job's page."""

from __future__ import annotations

import re

from harness.compare.logits import FACTOR
from harness.compare.result import NODE, CaseResult
from harness.compare.verdict import Verdict
from harness.report.tables import counts, gravest_first, setting_label
from harness.report.text import number
from harness.text import plain

AS_MEANT = (Verdict.KNOWN, Verdict.CAUGHT)
ROWS = 100
"""Rows of the table and commands below it; a job page holds 1 MiB, the rest is in index.html."""


def summary(results: list[CaseResult], *, command: str, generated: str, part: str = "") -> str:
    """Of what ``part`` it is, counts per verdict, a row for each result that is not PASS, and the commands that reproduce
    failures."""
    found = {verdict: count for verdict, count in counts(results).items() if count}
    noted = [result for result in gravest_first(results) if result.verdict is not Verdict.PASS]
    lines = ["# Reference versus serving", ""]
    lines += [" · ".join(f"**{count} {verdict}**" for verdict, count in found.items()) or "no cases were run", ""]
    lines += [f"{_cell(generated)}, {_code(command)}", ""]
    lines += [f"> **This is a part:** {_cell(part)}.", ""] if part else []
    if noted:
        placed = any(NODE in result.extra for result in noted)
        lines += [
            f"| verdict | case | setting | layout | diagnosis |{' node |' * placed}",
            f"|---|---|---|---|---|{'---|' * placed}",
        ]
        lines += [_row(result) + f" {_cell(result.extra.get(NODE, ''))} |" * placed for result in noted[:ROWS]]
        lines += ["", f"{len(noted) - ROWS} more are in index.html.", ""] if len(noted) > ROWS else [""]
    unexpected = [result for result in noted if result.verdict not in AS_MEANT][:ROWS]
    if unexpected:
        commands = "\n".join(dict.fromkeys(plain(result.reproduce) for result in unexpected))
        fence = fence_for(commands, least=3)
        lines += ["<details><summary>Reproduce</summary>", "", f"{fence}sh", commands, fence, "", "</details>", ""]
    return "\n".join(lines)


def _row(result: CaseResult) -> str:
    diagnosis = _cell(result.diagnosis)
    link = (result.declared or {}).get("link", "")
    if link and link not in result.diagnosis:
        diagnosis += f" ({_cell(link)})"
    cells = [
        result.verdict.value,
        _cell(result.case),
        _cell(setting_label(result)),
        _piped(_code(result.layout)) if result.layout else "",
        diagnosis,
    ]
    if result.logits and not result.logits.within:
        cells[-1] += f"; logits off by {number(result.logits.ratio)} times the noise floor, {FACTOR:g} allowed"
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """``text`` in a table's cell: its code spans stay, everything else is shown as it is."""
    parts = re.split("(`[^`]+`)", " ".join(plain(text).split()))
    return "".join(_piped(part) if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _escaped(text: str) -> str:
    entities = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|*_~`\[\]])", r"\\\1", entities)


def _piped(code: str) -> str:
    return code.replace("|", "\\|")


def _code(text: str) -> str:
    flat = " ".join(plain(text).split())
    fence = fence_for(flat)
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def fence_for(text: str, least: int = 1) -> str:
    """Backticks, one more than stand together in ``text`` and at least so many, to put around it."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
