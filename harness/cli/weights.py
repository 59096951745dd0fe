"""`harness mutants --weights`: each tensor of the serving side is changed a little and must be seen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import typer

from harness.campaigns.weights import Change, Survey, kept, survey
from harness.cli import options
from harness.cli.finish import finishing
from harness.compare.setting import Setting
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.families.registry import family_of
from harness.files import atomic, jsonl
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.report.folder import claimed
from harness.report.terminal import tight_table
from harness.verification import usage
from harness.verification.catalogue import load
from harness.verification.interpreters import platform_of
from harness.verification.session import Session

FAINTEST = 10
"""Rows of the table: the changes that were seen least."""


def weights(
    out: Path,
    spec: ModelSpec,
    base: Setting,
    by: float,
    epsilons: bool,
    serving_python: str,
    reference_python: str,
    timeouts: Timeouts,
    format: options.Format,
    cases: str,
) -> None:
    """Change every tensor and say which were not seen. Exit code 1 if one was not, 3 if an engine failed."""
    setting = base.with_(runner="v1")
    usage.check_named(setting, spec, serving_python, [reference_python])
    serving_python, reference_python = options.interpreters(serving_python, reference_python)
    usage.check(setting, spec, serving_python, reference_python)
    asked = [case for case, _ in load(cases).entries(platform_of(serving_python), serving_python)]
    lines, whole = out / f"weights-{spec.name}.jsonl", out / f"weights-{spec.name}.json"
    kinds = ("tensor", "computed", "epsilon")[: 3 if epsilons else 2]
    console = Console(stderr=True)
    changes: list[Change] = []
    found: list[Survey] = []

    def done(change: Change, total: int) -> None:
        changes.append(change)
        jsonl.append(lines, [change.to_dict()])
        end = change.error or (f"{change.seen_by} on {change.layout}" if change.seen_by else "not seen")
        console.print(f"{len(changes):3}/{total} {change.name}: {end}{_ratio_of(change)}")

    def say(why: str) -> None:
        if not found:
            console.print(f"{why}, after {len(changes)} changes; {lines} has them")
        elif format is options.Format.json:
            json.dump(found[0].to_dict(), sys.stdout, indent=1)
            print()
        else:
            _print(found[0], Console(), whole)

    def write(why: str) -> None:
        if found:
            atomic.write_text(whole, json.dumps(found[0].to_dict(), indent=1))

    with claimed("out", out):
        for path in (lines, whole):
            path.unlink(missing_ok=True)
        with (
            finishing(say, write),
            kept(),
            Session(serving_python=serving_python, reference_python=reference_python, timeouts=timeouts) as session,
        ):
            found.append(survey(session, spec, setting, layouts_for(spec, asked), by, done, kinds=kinds))
    raise typer.Exit(found[0].exit_code)


def layouts_for(spec: ModelSpec, cases: Iterable[Case]) -> list[Layout]:
    """The layouts of ``cases`` that a model can be given, in the order in which they are tried: those with most kinds of tokens
    first."""
    layouts = dict.fromkeys(Layout.parse(case.layout) for case in cases if case.layout)
    able = (layout for layout in layouts if family_of(spec).takes(layout, spec))
    return sorted(able, key=lambda layout: (-len(set(layout.kinds)), len(layout)))


def _print(found: Survey, console: Console, path: Path) -> None:
    tensors = [change for change in found.changes if change.kind == "tensor"]
    seen = sorted((change for change in tensors if change.seen_by), key=_ratio)
    title = f"seen least of {len(seen)}, changed by {found.by:g}"
    table = tight_table("tensor", "by", "noise floors", "layout", title=title)
    table.columns[0].overflow = "fold"
    for change in seen[:FAINTEST]:
        table.add_row(change.name, change.seen_by, f"{_ratio(change):.3g}", change.layout)
    console.print(table)
    epsilons = sorted((change for change in found.changes if change.kind == "epsilon" and not change.error), key=_ratio)
    hidden = [change for change in epsilons if not change.seen_by]
    say = console.print
    if epsilons:
        say(
            f"epsilons times ten: {len(hidden)} of {len(epsilons)} stay within the bound, at {_span(hidden)} noise floors"
        )
    say(
        f"without a change: {_between(list(found.before.values()))} noise floors on {len(found.before)} layouts, {found.setting}"
    )
    for layout in found.unfit:
        say(f"left out, since it does not pass without a change: {layout}")
    for change in found.changes:
        if change.kind == "computed" and not change.seen_by and not change.error:
            say(f"computed by serving, and its change is not seen: {change.name}{_ratio_of(change)}")
    for name in found.not_loaded:
        say(f"not loaded by this release: {name}")
    for change in found.unseen:
        say(f"not seen: {change.name}{_ratio_of(change)}")
    for change in found.failed:
        say(f"no answer: {change.name}: {change.error}")
    if not found.restored:
        say("no answer: the engine was not the same after everything was put back")
    say(f"{len(seen)} of {len(tensors)} tensors seen; {path}")


def _ratio(change: Change) -> float:
    return float("inf") if change.ratio is None else change.ratio


def _ratio_of(change: Change) -> str:
    return "" if change.ratio is None else f", {change.ratio:.3g} noise floors"


def _span(changes: list[Change]) -> str:
    return _between([_ratio(change) for change in changes])


def _between(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}" if values else "no"
