"""What has changed in the world: one page of several reports, each of one pair of sides, that opens with what is to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.report.markdown import fence_for
from harness.report.tables import counts, setting_label
from harness.text import plain, unbroken

Reports = Mapping[str, Sequence[CaseResult] | str]
"""The results of each pair of sides, by its name; why there are none where there are none."""


def page(reports: Reports, ended: Mapping[str, str] = MappingProxyType({}), *, generated: str) -> str:
    """Markdown: what is FIXED, what is new, what gave no answer, then the counts of each pair. Of a pair that is a part ``ended``
    says why."""
    lines = ["# Canary", "", f"{generated}. Each pair ran the catalogue, with what it declares.", ""]
    fixed, new, lost = (_of(reports, verdict) for verdict in (Verdict.FIXED, Verdict.DIVERGED, Verdict.ERROR))
    lines += _part("FIXED: take the declaration out, or end its range of releases", fixed)
    lines += _part("New: it differs, and nothing declares it", new)
    lines += _part("No answer", lost)
    missing = _missing(reports)
    lines += [f"- **{_named(name)}**: no report, {plain(why)}" for name, why in missing.items()]
    lines += [f"- **{_named(name)}**: a part, {plain(why)}" for name, why in ended.items()]
    if not (fixed or new or lost or missing or ended):
        lines += ["Nothing is FIXED, and nothing is new.", ""]
    lines += ["", "| pair | releases | verdicts |", "|---|---|---|"]
    lines += [_row(name, results) for name, results in reports.items() if results and not isinstance(results, str)]
    return "\n".join(lines) + "\n"


def exit_code(reports: Reports, ended: Mapping[str, str] = MappingProxyType({})) -> int:
    """1 where something is FIXED or new, else 3 where something gave no answer or has ``ended`` early, else 0."""
    codes = [
        result.verdict.exit_code for results in reports.values() if not isinstance(results, str) for result in results
    ]
    codes += [3 for _ in (*_missing(reports), *ended)]
    return 1 if 1 in codes else max(codes, default=3)


def _missing(reports: Reports) -> dict[str, str]:
    """Why a pair has no results, for those that have none."""
    return {
        name: results if isinstance(results, str) else "it has no results"
        for name, results in reports.items()
        if isinstance(results, str) or not results
    }


def _of(reports: Reports, verdict: Verdict) -> list[tuple[str, CaseResult]]:
    return [
        (name, result)
        for name, results in reports.items()
        if not isinstance(results, str)
        for result in results
        if result.verdict is verdict
    ]


def _part(title: str, found: Sequence[tuple[str, CaseResult]]) -> list[str]:
    """A part of the page; one line for the cases that say the same of a pair."""
    if not found:
        return []
    alike: dict[tuple[str, str, str], list[CaseResult]] = {}
    for name, result in found:
        alike.setdefault((name, setting_label(result), plain(result.diagnosis)), []).append(result)
    lines = [f"## {title}", ""]
    for (name, label, diagnosis), results in alike.items():
        cases = ", ".join(dict.fromkeys(result.case for result in results))
        link = (results[0].declared or {}).get("link", "")
        command = plain(results[0].reproduce)
        fence = fence_for(command)
        lines += [
            f"- **{_named(name)}**, {label}: {plain(cases)}. {diagnosis}{f' ({plain(link)})' if link else ''}",
            f"  {fence}{command}{fence}",
        ]
    return [*lines, ""]


def _named(pair: str) -> str:
    """The name of a folder, in one line and one cell."""
    return unbroken(pair).replace("|", "\\|")


def _row(name: str, results: Sequence[CaseResult]) -> str:
    versions = next((result.versions for result in results if result.versions), {})
    sides = f"vLLM {versions.get('vllm', '?')}, transformers {versions.get('transformers', '?')}"
    found = " · ".join(f"{count} {verdict}" for verdict, count in counts(list(results)).items() if count)
    return f"| {_named(name)} | {sides} | {found} |"
