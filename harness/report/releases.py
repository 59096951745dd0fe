"""`docs/releases.json` and the table of `docs/releases.md`: what a matrix saw is put into what others saw before it."""

from __future__ import annotations

import re
from typing import Any

from packaging.version import Version

from harness.errors import UsageError
from harness.report.matrix import markdown

_TABLE = re.compile(r"(?:^\|.*\|\n)+", re.MULTILINE)
_RELEASE = re.compile(r"\d+(?:\.\d+)+")


def joined(before: dict[str, Any], now: dict[str, Any], date: str) -> dict[str, Any]:
    """The document ``before`` with the rows and references of ``now``, a `harness.report.matrix.document`; its own answers take the
    place of those of before. Newest releases come first.

    Raises:
        UsageError: they are of other layouts.
    """
    if before["layouts"] != now["layouts"]:
        raise UsageError("into", ", ".join(before["layouts"]), f"a matrix of the layouts {', '.join(now['layouts'])}")
    references = {one["release"]: one for one in (*before["references"], *now["references"]) if one["policies"]}
    names = sorted(references, key=_number, reverse=True)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (*before["rows"], *now["rows"]):
        key = row["serving"], row["setting"]
        verdicts = {
            **rows.get(key, {"verdicts": {}})["verdicts"],
            **{name: found for name, found in row["verdicts"].items() if found},
        }
        if verdicts:
            kept = {name: value for name, value in row.items() if name != "nodes"}
            rows[key] = {**kept, "verdicts": verdicts}
    for row in rows.values():
        row["verdicts"] = {name: row["verdicts"].get(name, "") for name in names}
    ordered = sorted(rows.values(), key=lambda row: row["setting"])
    ordered.sort(key=lambda row: _number(row["serving"]), reverse=True)
    return {
        "layouts": now["layouts"],
        "references": [references[name] for name in names],
        "rows": ordered,
        "date": date,
    }


def with_table(page: str, document: dict[str, Any], before: dict[str, Any]) -> str:
    """The page with the table of ``document`` in the place of its first one, and its date in that of the one ``before``."""
    table = markdown(document)
    return _TABLE.sub(lambda _: table, page.replace(before["date"], document["date"]), count=1)


def _number(named: str) -> Version:
    found = _RELEASE.search(named)
    return Version(found[0] if found else "0")
