"""Results as one HTML page that needs nothing but itself: no network, no files beside it."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.files import atomic
from harness.masks.policies import POLICIES
from harness.report.tables import SETTING_COLUMNS, counts, gravest_first, overview
from harness.report.text import SIDES, number, sortable, strict

if TYPE_CHECKING:
    import pandas as pd

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("dom.js", "tokens.js", "masks.js", "mask_views.js", "logits.js", "case.js", "overview.js")
_FACETS = ("model", *SETTING_COLUMNS)
_NO_DIFFERENCE = "no layer"


def write_html(
    results: list[CaseResult], path: Path, *, title: str, generated: str, command: str, part: str = ""
) -> Path:
    """Write the page: counts, the overview table with filters, and one section for each result, the gravest first. It says
    at its head of what ``part`` it is."""
    return atomic.write_text(path, render(results, title=title, generated=generated, command=command, part=part))


def render(results: list[CaseResult], *, title: str, generated: str, command: str, part: str = "") -> str:
    """The page's text. A section's data is JSON in the page and is drawn when the section is opened."""
    ordered = gravest_first(results)
    table = overview(ordered)
    entries = [
        {"row": row, "id": anchor, "data": embedded(result.to_dict()), "facets": _facets_of(row)}
        for row, anchor, result in zip(table.to_dict("records"), anchors(table), ordered, strict=True)
    ]
    environment = templates()
    environment.filters |= {"number": number, "sortable": sortable, "seconds": lambda value: f"{value:.1f} s"}
    return environment.get_template("index.html.j2").render(
        strict({"title": title, "generated": generated, "command": command, "part": part})
        | {
            "entries": entries,
            "counts": counts(results),
            "meanings": {verdict: verdict.meaning for verdict in Verdict},
            "facets": facets(table),
            "policies": POLICIES.values(),
            "sides": embedded(SIDES),
            "css": Markup(_asset("report.css")),
            "scripts": [Markup(_asset(name)) for name in SCRIPTS],
            "plotly": _packed_plotly() if any(result.logits for result in results) else "",
        }
    )


def templates() -> Environment:
    """Pages' templates, in which every value is escaped."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def embedded(value: Any) -> Markup:
    """JSON that may stand inside a script element: no text in it can end the element or start a comment."""
    text = json.dumps(strict(value), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def anchors(table: pd.DataFrame) -> list[str]:
    """A name in the page for each row of `overview`, made of its case and setting, so that links last between runs."""
    used: dict[str, int] = {}
    names = []
    for case, setting in zip(table["case"], table["setting"], strict=True):
        name = anchor(case, setting)
        used[name] = used.get(name, 0) + 1
        names.append(name if used[name] == 1 else f"{name}--{used[name]}")
    return names


def anchor(case: str, setting: str) -> str:
    """The name in the page of the first result of this case under this setting."""
    return re.sub(r"[^a-z0-9]+", "-", f"case {case} {setting}".lower()).strip("-")


def facets(table: pd.DataFrame) -> dict[str, list[str]]:
    """What the page can filter by: the setting's fields that vary, and the types of layers that differ."""
    varying = {name: sorted(set(table[name])) for name in _FACETS if table[name].nunique() > 1}
    types = {name for row in table["differing_types"] for name in row.split(", ") if name}
    return {**varying, "differs in": [*sorted(types), _NO_DIFFERENCE]} if types else varying


def _facets_of(row: Mapping[Any, Any]) -> str:
    types = row["differing_types"].split(", ") if row["differing_types"] else [_NO_DIFFERENCE]
    return json.dumps({**{name: [row[name]] for name in _FACETS}, "differs in": types})


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _packed_plotly() -> str:
    return base64.b64encode(zlib.compress(get_plotlyjs().encode(), 9)).decode()
