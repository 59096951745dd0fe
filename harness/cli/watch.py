"""`harness watch`: the verdict of a source tree again, each time that a file of it is saved."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer

from harness.campaigns import watch as campaign
from harness.campaigns.bisect import Layers, policies
from harness.campaigns.watch import Verdicts
from harness.cli import options
from harness.cli.setting_options import with_setting
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.files.saved import saved
from harness.verification import usage
from harness.verification.apart import Apart
from harness.verification.spare import Spares

SCHEMA = 1
"""Counts the changes of a line of JSON that break a reader."""
LAYOUT = "t3 i5 t4 i12 t3"


@with_setting("backend", "runner", "dtype", "kv_dtype", "mode", "block_size", "arguments", "chunk", "reference")
def watch(
    serving: options.ServingPython = options.THIS_PYTHON,
    reference: options.ReferencePython = options.THIS_PYTHON,
    layout: Annotated[
        list[str] | None, typer.Option(help=f"what both sides are asked; repeatable; by default {LAYOUT}")
    ] = None,
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    times: Annotated[int, typer.Option(help="end after the tree was looked at so many times; 0: never")] = 0,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Run layouts on a source tree, and again on each change of its files, until Ctrl-C. JSON is one line for each time."""
    spec = options.preset_with(model, None)
    layouts = options.layouts_of(spec, layout or [LAYOUT])
    trees = campaign.trees(serving, reference)
    usage.check_named(setting, spec, serving, [reference])
    usage.check(setting, spec, *options.interpreters(serving, reference))
    timeouts = Timeouts(timeout, start_timeout)
    told = Console(stderr=True)
    before: list[CaseResult] = []
    with (
        saved([tree.package for tree in trees]) as next_ones,
        Spares(timeouts.start) as spares,
        Apart(spec, setting, layouts, timeouts, spares.sides) as apart,
    ):
        looks = campaign.watch(apart, spares, serving, reference, trees, next_ones)
        for number, now in enumerate(looks, start=1):
            if format is options.Format.json:
                print(json.dumps(_document(now)), flush=True)
            else:
                _say(Console(), before, now)
            before = now.results
            if number == times:
                break
            told.print(f"watching {', '.join(str(tree.package) for tree in trees)}")
    raise typer.Exit(max(result.verdict.exit_code for result in before))


def _document(now: Verdicts) -> dict[str, Any]:
    results = [replace(one, layers=[replace(layer, masks={}) for layer in one.layers]).to_dict() for one in now.results]
    return {"schema": SCHEMA, "changed": now.changed, "seconds": round(now.seconds, 1), "results": results}


def _say(console: Console, before: list[CaseResult], now: Verdicts) -> None:
    """What is other than it was in full, the rest in a line."""
    from harness.report.terminal import case_panel, reproduce_line

    cause = f"{', '.join(now.changed[:3])}{' and more' if len(now.changed) > 3 else ''} saved: " if now.changed else ""
    for index, result in enumerate(now.results):
        then = before[index] if before else None
        verdict = (
            str(result.verdict)
            if then is None or then.verdict == result.verdict
            else f"{then.verdict} -> {result.verdict}"
        )
        console.print(f"{cause}{verdict} {result.layout} [{_shown(result)}], {now.seconds:.1f} s", style="bold")
        if then is None or (then.verdict, _shown(then)) != (result.verdict, _shown(result)):
            console.print(case_panel(result))
            console.print(reproduce_line(result))


def _shown(result: CaseResult) -> str:
    if result.error:
        return result.error.message
    return f"serving {policies(result, 'serving', Layers.all)}; reference {policies(result, 'reference', Layers.all)}"
