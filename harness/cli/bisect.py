"""`harness bisect`: which release, or which commit of a source tree, changed what a side masks."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.campaigns.bisect import Changed, Criterion, Layers, Shown, changes_of
from harness.cli import options
from harness.cli.finish import finishing
from harness.cli.setting_options import with_setting
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.errors import EnvironmentFailure, UsageError
from harness.files import atomic, jsonl
from harness.prompts.model_spec import ModelSpec
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.text import one_line
from harness.verification import environments, usage
from harness.verification.apart import Apart, Named, failures
from harness.verification.environments.commits import commits_of
from harness.verification.environments.index import released
from harness.verification.environments.line import CommitLine, Line, ReleaseLine
from harness.verification.environments.release import Release, Side
from harness.verification.interpreters import inspect
from harness.verification.made_with import content, source

SCHEMA = 1
"""Counts the changes of the document that break a reader."""
LAYOUT = "t3 i5 t4 i12 t3"


@with_setting("backend", "runner", "dtype", "kv_dtype", "mode", "block_size", "arguments", "chunk", "reference")
def bisect(
    good: Annotated[str, typer.Option(help="where it was as it should be: a release, or a commit of the source tree")],
    bad: Annotated[str, typer.Option(help="where it is not: a later release, or a later commit")],
    side: Annotated[Side, typer.Option(help="the side that is bisected; the other one stays")] = Side.serving,
    layout: Annotated[str, typer.Option(help="what both sides are asked")] = LAYOUT,
    layers: Annotated[Layers, typer.Option(help="whose policies are looked at")] = Layers.all,
    criterion: Annotated[
        Criterion, typer.Option(help="what makes two points alike: the policies of their masks, or the verdict")
    ] = Criterion.policy,
    serving: options.ServingPython = options.THIS_PYTHON,
    reference: options.ReferencePython = options.THIS_PYTHON,
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    out: Annotated[Path, typer.Option(help="the folder of what was seen; what is there is not run again")] = Path(
        "reports/bisect"
    ),
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Find where releases changed what they mask, or the commits of the source tree that `--serving` or `--reference` names."""
    spec = options.preset_with(model, None)
    (layout,) = options.layouts_of(spec, [layout])
    if criterion is Criterion.verdict and layers is not Layers.all:
        raise UsageError("layers", layers.value, "with --criterion policy alone: a verdict is of all layers")
    line, stays = _line(side, good, bad, serving, reference, setting, spec)
    timeouts = Timeouts(timeout, start_timeout)
    other = (Side.reference if side is Side.serving else Side.serving).value
    asked = {
        "side": side.value,
        "stays": stays.text,
        "layout": layout,
        "model": spec.name,
        "setting": setting.to_dict(),
    }
    made_with = [source(), stays.python, inspect(stays.python), content(stays.text, other)]
    key = hashlib.sha256(json.dumps([asked, spec.key, *made_with], default=str).encode()).hexdigest()[:12]
    console, told = Console(), Console(stderr=True)
    if format is options.Format.json:
        console = told
    with claimed("out", out):
        journal = out / "bisect.jsonl"
        seen = {one["point"]: one for one in jsonl.of_key(journal, key)}
        results = {point: CaseResult.from_dict(one["result"]) for point, one in seen.items()}

        def shown(point: str) -> Shown:
            return Shown.of(point, results[point], side.value, criterion, layers, seen[point]["seconds"])

        asked_about = {line.good, line.bad, *line.between([line.good], line.bad)}
        known = {
            point: shown(point) for point, result in results.items() if result.error is None and point in asked_about
        }
        steps: list[Shown] = []
        changes: list[Changed] = []

        def say(why: str) -> None:
            for change in changes:
                console.print(_sentence(line, change))
            if why:
                told.print(f"{why}; the next run goes on from here")
            elif not changes:
                console.print(_nothing(line, [*known.values(), *steps]))
            if format is options.Format.json:
                json.dump(document(why), sys.stdout, indent=1)
                print()

        def document(why: str) -> dict[str, Any]:
            asked_for = {
                **asked,
                "criterion": criterion.value,
                "layers": layers.value,
                "good": line.good,
                "bad": line.bad,
            }
            looked = [{**asdict(one), "title": line.title(one.point)} for one in (*known.values(), *steps)]
            found = [{**asdict(one), "title": line.title(one.first)} for one in changes]
            return {"schema": SCHEMA, **asked_for, "steps": looked, "changes": found, "ended": why}

        def write(why: str) -> None:
            from harness.report.files import write_report

            if results:
                atomic.write_text(out / "bisect.json", json.dumps(document(why), indent=1) + "\n")
                extent = Extent(len(results), 0, "points", why)
                index = write_report(list(results.values()), out, shlex.join(["harness", *sys.argv[1:]]), extent)
                told.print(f"report: {index}")

        if not results:
            _check_first(line, side, stays, setting, spec)
        with finishing(say, write), Apart(spec, setting, (layout,), timeouts) as apart:

            def look(point: str) -> Shown:
                start = time.monotonic()
                results[point] = _result(apart, line, point, side, stays)
                seen[point] = {"seconds": round(time.monotonic() - start, 1)}
                line_of = {"key": key, "point": point, **seen[point], "result": results[point].to_dict()}
                jsonl.append(journal, [line_of])
                return shown(point)

            for one in known.values():
                console.print(f"{line.title(one.point)}: {one.shows} (seen before)")
            for found in changes_of(line, look, known):
                if isinstance(found, Changed):
                    changes.append(found)
                else:
                    steps.append(found)
                    why = found.shows if found.shows is not None else f"skipped, no answer: {one_line(found.why)}"
                    console.print(f"{line.title(found.point)}: {why} ({found.seconds:.0f} s)")
    lost = [one.point for one in steps if one.shows is None]
    raise typer.Exit(3 if line.good in lost or line.bad in lost else 0)


def _line(
    side: Side, good: str, bad: str, serving: str, reference: str, setting: Setting, spec: ModelSpec
) -> tuple[Line, Named]:
    """The points of the side that is bisected, and the side that stays; raises UsageError where the setting is none for them."""
    moves, stays = (serving, reference) if side is Side.serving else (reference, serving)
    other = "reference" if side is Side.serving else "serving"
    environments.side(stays, other)
    of_releases = moves == options.THIS_PYTHON
    line = _releases(side, good, bad) if of_releases else _commits(side, good, bad, moves)
    first = line.good if of_releases else moves
    usage.check_named(setting, spec, *((first, [stays]) if side is Side.serving else (stays, [first])))
    return line, Named(stays, environments.interpreter(stays, other))


def _releases(side: Side, good: str, bad: str) -> Line:
    first = Release.parse(good, "good")
    return ReleaseLine.of(side.value, good, bad, released(first.name) if first else ())


def _commits(side: Side, good: str, bad: str, tree: str) -> Line:
    if Release.parse(tree, side.value):
        allowed = "a source tree, whose commits are bisected; releases are named by --good and --bad"
        raise UsageError(side.value, tree, allowed)
    return CommitLine.of(commits_of(tree, side.value), good, bad)


def _check_first(line: Line, side: Side, stays: Named, setting: Setting, spec: ModelSpec) -> None:
    """Raise UsageError where the first point to be looked at does not take the setting; that it gives no answer is found later."""
    with suppress(EnvironmentFailure), line.python(line.good) as python:
        _check(python, side, stays, setting, spec)


def _check(python: str, side: Side, stays: Named, setting: Setting, spec: ModelSpec) -> None:
    serving, reference = (python, stays.python) if side is Side.serving else (stays.python, python)
    usage.check(setting, spec, serving, reference)


def _result(apart: Apart, line: Line, point: str, side: Side, stays: Named) -> CaseResult:
    """What one point shows beside the side that stays."""
    apart.forget(side.value)
    try:
        with line.python(point) as python:
            _check(python, side, stays, apart.setting, apart.spec)
            at = Named(line.named(point), python)
            serving, reference = (at, stays) if side is Side.serving else (stays, at)
            (found,) = apart.results(serving, reference)
    except (UsageError, EnvironmentFailure) as error:
        at = Named(line.named(point), "")
        serving, reference = (at, stays) if side is Side.serving else (stays, at)
        (found,) = failures(serving.text, (reference.text,), apart.layouts, apart.setting, apart.spec, error, {})
    title = line.title(point)
    return replace(found, case=f"{side.value} {title}", reproduce=line.before(point) + found.reproduce)


def _sentence(line: Line, change: Changed) -> str:
    said = f"{line.title(change.first)} is the first that shows {change.after}; {line.title(change.last)} showed {change.before}"
    if not change.skipped:
        return said
    return f"{said}. One of those between may be it, they gave no answer: {', '.join(map(line.title, change.skipped))}"


def _nothing(line: Line, seen: list[Shown]) -> str:
    ends = {one.point: one for one in seen}
    lost = next((ends[end] for end in (line.good, line.bad) if end in ends and ends[end].shows is None), None)
    if lost:
        return f"{line.title(lost.point)} gives no answer: {one_line(lost.why)}"
    return f"nothing changed: {line.title(line.good)} and {line.title(line.bad)} both show {ends[line.good].shows}"
