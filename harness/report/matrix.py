"""The matrix of releases as a table: terminal, HTML, JSON, CSV, Markdown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import rich.table
from rich.text import Text

from harness.compare.result import CaseResult
from harness.prompts.model_spec import ModelSpec
from harness.report.html import anchor, templates

if TYPE_CHECKING:
    from harness.campaigns.matrix import Plan, Table

COLOURS = {"PASS": "green", "KNOWN": "yellow", "FIXED": "cyan", "DIVERGED": "red", "ERROR": "magenta"}


def key_of(plan: Plan, spec: ModelSpec, *made_with: str) -> str:
    """Equal keys are cells of the same layouts, model and declarations, ``made_with`` the same sides and harness; which settings
    are asked for may differ."""
    declared = [[asdict(one) for one in plan.declared]] if plan.declared else []
    return hashlib.sha256(json.dumps([plan.layouts, spec.key, *declared, *made_with]).encode()).hexdigest()[:12]


def latest(results: Sequence[CaseResult]) -> list[CaseResult]:
    """The last result of each cell and layout."""
    return list({_place(result): result for result in results}.values())


def of_plan(results: Sequence[CaseResult], plan: Plan) -> list[CaseResult]:
    """Those of cells that are asked for; a folder has cells of other plans too."""
    units = {(serving, setting.label) for serving, setting in plan.units}
    return [
        result
        for result in results
        if (result.extra["serving"], result.setting["label"]) in units
        and result.extra["reference"] in plan.references
        and result.layout in plan.layouts
    ]


def _place(result: CaseResult) -> tuple[str, str, str, str]:
    return result.extra["serving"], result.setting["label"], result.extra["reference"], result.layout


def answered(results: Sequence[CaseResult], plan: Plan) -> set[tuple[str, str, str]]:
    """Serving sides under a setting, by its label, with a layout that every reference has an answer for."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for result in results:
        if result.error is None:
            place = result.extra["serving"], result.setting["label"], result.layout
            found.setdefault(place, set()).add(result.extra["reference"])
    return {place for place, references in found.items() if references >= set(plan.references)}


def document(table: Table, plan: Plan, lost: Sequence[dict] = ()) -> dict:
    """The table as plain data. On a cluster ``nodes`` of a row are where its cells ran, and what was ``lost`` with one is told."""
    return {
        "layouts": list(plan.layouts),
        **({"lost with a node, run again": list(lost)} if lost else {}),
        "references": [{"release": column, "policies": table.referred(column)} for column in table.columns],
        "rows": [
            {
                "serving": row[0],
                "setting": row[1],
                "runner": table.runner(row),
                "policies": table.served(row),
                "verdicts": {column: table.verdict(row, column) for column in table.columns},
                **({"nodes": nodes} if (nodes := table.nodes(row)) else {}),
            }
            for row in table.rows
        ],
    }


def terminal(table: Table) -> rich.table.Table:
    """For people: references beside each other with which every side shows the same are one column."""
    alike = groupby(
        table.columns, lambda column: (table.referred(column), *(table.verdict(r, column) for r in table.rows))
    )
    columns = [list(group) for _, group in alike]
    shown = rich.table.Table(
        "serving", "setting", "policies", *(f"{_span(column)}\n{table.referred(column[0])}" for column in columns)
    )
    for row in table.rows:
        verdicts = [table.verdict(row, column[0]) for column in columns]
        coloured = [Text(text, COLOURS.get(text.split(" ")[0], "")) for text in verdicts]
        shown.add_row(*row, table.served(row), *coloured)
    return shown


def _span(names: Sequence[str]) -> str:
    """Names that stand beside each other: the first and the last, and how many there are."""
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1].rpartition('==')[2]} ({len(names)})"


def html(found: dict, *, generated: str, command: str, part: str) -> str:
    """A `document` as a page, which opens into the cases of the report beside it."""

    def place(serving: str, reference: str, setting: str) -> str:
        return anchor(f"{serving} with {reference}", setting)

    page = templates().get_template("matrix.html.j2")
    return page.render(found=found, generated=generated, command=command, part=part, anchor=place)


def csv(table: Table) -> str:
    """One line a cell."""
    import pandas

    placed = any(table.nodes(row) for row in table.rows)
    rows = [
        {"serving": row[0], "setting": row[1], "serving policies": table.served(row), "reference": column,
         "reference policies": table.referred(column), "verdict": table.verdict(row, column),
         **({"nodes": "; ".join(table.nodes(row, column))} if placed else {})}
        for row in table.rows
        for column in table.columns
    ]  # fmt: skip
    return pandas.DataFrame(rows).to_csv(index=False)


def markdown(found: dict) -> str:
    """The table of a `document`, and what was lost."""
    placed = any("nodes" in row for row in found["rows"])
    head = [
        "serving",
        "setting",
        "runner",
        "policies",
        *(f"{one['release']}: {one['policies']}" for one in found["references"]),
        *(["nodes"] if placed else []),
    ]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in found["rows"]:
        cells = [row["serving"], row["setting"], row["runner"] or "none", row["policies"], *row["verdicts"].values()]
        cells += ["; ".join(row.get("nodes", []))] if placed else []
        lines.append(" | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells))
    text = "\n".join(f"| {line} |" for line in lines) + "\n"
    lost = found.get("lost with a node, run again", [])
    said = [f"- {one['cell']}: lost with {one['node']} at {one['at']}, run again" for one in lost]
    return "\n".join([text, *said, ""]) if said else text
