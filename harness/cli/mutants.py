"""`harness mutants`: plants each fault and searches for generated layouts that catch it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from harness.campaigns import mutation_matrix
from harness.campaigns.mutation import lost, search, told
from harness.campaigns.mutation_matrix import MutantOutcome
from harness.cli import options
from harness.cli.finish import finishing
from harness.cli.machines import JobsOption, NeedsOption, RayOption, check, machines, needed
from harness.cli.machines import told as said
from harness.cli.parallel import JOBS, in_parallel
from harness.cli.setting_options import with_setting
from harness.cli.weights import weights as change_each
from harness.compare.known import Declared
from harness.compare.result import CaseResult, on_node
from harness.compare.setting import Setting
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.engines.registry import OVERLAYS
from harness.errors import DriverFailure, UsageError
from harness.files import atomic
from harness.prompts.model_spec import ModelSpec
from harness.report import journal
from harness.report.extent import Extent
from harness.report.files import write_report
from harness.report.folder import claimed
from harness.report.terminal import tight_table
from harness.verification.catalogue import OWN, declared, load
from harness.verification.gpus import ranks
from harness.verification.machines import Cell, Found, Lost, Over

SHARE = 0.01
"""By which share of its values a tensor is changed, where nothing else is asked for."""


@with_setting("backend", "dtype")
def mutants(
    out: Annotated[
        Path | None,
        typer.Option(help="the folder that the report is written to; by default reports/mutants, -part with --only"),
    ] = None,
    cases: options.CasesOption = OWN,
    only: Annotated[list[str] | None, typer.Option(help="a mutant's name; repeatable")] = None,
    known: options.KnownOption = None,
    examples: Annotated[int, typer.Option(help="generated layouts before a mutant counts as survivor")] = 100,
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    window: Annotated[int | None, typer.Option(help="sliding window in tokens; by default the preset's")] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="change each tensor of serving a little instead; every one must be seen")
    ] = False,
    change: Annotated[
        float | None,
        typer.Option(help=f"with --weights: by which share of its values a tensor is changed; by default {SHARE}"),
    ] = None,
    epsilons: Annotated[
        bool, typer.Option("--epsilons", help="with --weights: make each norm's epsilon ten times as large too")
    ] = False,
    jobs: JobsOption = None,
    ray: RayOption = None,
    needs: NeedsOption = None,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Search for each mutant with generated layouts and print the matrix. Exit code 1 if one survives, 3 if an engine failed.

    With --weights: change each tensor of serving a little and say which no layout of the catalogue shows."""
    from harness.verification import usage

    check(ray, needs)
    spec = options.preset_with(model, window)
    if weights:
        folder, limits = options.folder(out, "reports/weights", whole=True), Timeouts(timeout, start_timeout)
        share = SHARE if change is None else change
        change_each(folder, spec, setting, share, epsilons, serving_python, reference_python, limits, format, cases)
    for field, value in (("change", change), ("epsilons", "--epsilons" if epsilons else None)):
        if value is not None:
            raise UsageError(field, value, "with --weights alone")
    planted = {name: overlay for name, overlay in OVERLAYS.items() if overlay.kind == "mutant"}
    names = [name for name, overlay in planted.items() if overlay.fits(spec.family)]
    for name in only or ():
        if name not in names:
            other = f" that {spec.name} has something for" if name in planted else ""
            raise UsageError("only", name, f"a mutant{other}: {', '.join(names)}")
    timeouts = Timeouts(timeout, start_timeout)
    heeded = list(dict.fromkeys([*declared(known or [], cases), *load(cases).declared]))
    usage.check_named(setting, spec, serving_python, [reference_python])
    serving_python, reference_python = options.interpreters(serving_python, reference_python)
    usage.check(setting, spec, serving_python, reference_python)
    chosen = [name for name in names if not only or name in only]
    out = options.folder(out, "reports/mutants", whole=not only)
    command = shlex.join(["harness", *sys.argv[1:]])
    outcomes: list[dict] = []
    with_nodes: list[dict] = []
    results: list[CaseResult] = []
    console = Console(stderr=True)

    def document() -> dict:
        return mutation_matrix.document(outcomes, command, len(chosen), with_nodes)

    def say(why: str) -> None:
        outcomes.sort(key=lambda outcome: chosen.index(outcome["mutant"]))
        results.sort(key=lambda result: chosen.index(result.case))
        if format is options.Format.json:
            print(json.dumps(document(), indent=1))
        else:
            _say(outcomes)
        if why:
            console.print(f"{why}, {len(outcomes)} of {len(chosen)} mutants")

    def write(why: str) -> None:
        part = f"{len(chosen)} of {len(names)} mutants were asked for" if only else ""
        if outcomes:
            index = write_report(results, out, command, Extent(len(outcomes), len(chosen), "mutants", why, part))
            atomic.write_text(out / mutation_matrix.FILE, json.dumps(document(), indent=1))
            console.print(f"report: {index}")
        journal.end(out)

    each = needed(needs, ranks(setting, serving_python))
    cells = [Cell(name, _search, (name, spec, setting, examples, heeded), planted[name].needs, each) for name in chosen]
    with claimed("out", out), machines(ray, jobs, JOBS) as places:
        recorder = journal.begin("out", out, command)
        searches = in_parallel(places, cells, serving_python, reference_python, timeouts)
        with finishing(say, write), closing(searches):
            for one in searches:
                match one:
                    case Lost():
                        with_nodes.append(said(one, console))
                        continue
                    case Found(item=(outcome, smallest), where=where):
                        pass
                    case Over(failure=DriverFailure() as failure, where=where):
                        outcome, smallest = lost(one.cell.name, setting, failure), []
                    case _:
                        continue
                outcome = replace(outcome, node=where)
                shown = [on_node(result, where) for result in told(outcome, smallest, setting, spec, heeded)]
                results += shown
                outcomes.append(outcome.to_dict())
                recorder.extend(shown)
                recorder.note("mutant", outcomes[-1:])
                ended = f"{_end(outcomes[-1])} ({outcome.seconds:.0f} s)"
                console.print(f"{len(outcomes):3}/{len(chosen)} {outcome.mutant}: {ended}")
    raise typer.Exit(max(3 if outcome["error"] else int(not outcome["right"]) for outcome in outcomes))


def _say(outcomes: list[dict]) -> None:
    Console().print(_matrix(outcomes))
    for name, why in _reasons(outcomes):
        Console().print(f"{name}: {why}")


def _end(outcome: dict) -> str:
    if outcome["error"]:
        return f"no answer: {outcome['error']['message']}"
    return (
        f"caught by {outcome['caught_by']} after {outcome['examples']}"
        if outcome["caught_by"]
        else outcome["refused"] or "not caught"
    )


def _search(
    session, name: str, spec: ModelSpec, base: Setting, examples: int, heeded: list[Declared]
) -> Iterator[tuple[MutantOutcome, list[CaseResult]]]:
    yield search(session, name, spec, base, heeded, examples)


def _matrix(outcomes: list[dict]) -> Table:
    table = tight_table("mutant", "caught by", "after", "logits alone", "smallest layouts", title="mutation matrix")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[-1].overflow = "fold"
    for outcome in outcomes:
        left = (
            "refused" if outcome["refused"] else "equivalent" if outcome["equivalent"] else Text("survived", "bold red")
        )
        by = Text("no answer", "bold red") if outcome["error"] else outcome["caught_by"] or left
        alone = "yes" if outcome["logits_alone"] else "no"
        table.add_row(outcome["mutant"], by, str(outcome["examples"]), alone, " | ".join(outcome["layouts"]))
    return table


def _reasons(outcomes: list[dict]) -> Iterator[tuple[str, str]]:
    """What there is to say of each mutant that was not caught, or was although it is equivalent."""
    for outcome in outcomes:
        if outcome["error"]:
            yield outcome["mutant"], _end(outcome)
        elif not outcome["caught_by"] or not outcome["right"]:
            yield outcome["mutant"], outcome["refused"] or outcome["equivalent"] or outcome["sentence"]
