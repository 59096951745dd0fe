"""`harness report`: the catalogue, and its HTML report."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.finish import finishing
from harness.cli.machines import JobsOption, NeedsOption, RayOption, check, machines, needed, told
from harness.cli.parallel import JOBS, in_parallel
from harness.cli.setting_options import with_setting
from harness.compare.known import Declared
from harness.compare.result import AGAIN, CaseResult, on_node
from harness.compare.setting import Setting
from harness.console import Console, progress_bar
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure, UsageError
from harness.families import checkpoint
from harness.families.dummy import BYTES, check_memory
from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec
from harness.report import journal
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.verification.catalogue import OWN, declared, left_out, load
from harness.verification.gpus import ranks
from harness.verification.machines import Cell, Found, Lost, Over
from harness.verification.session import Session


@with_setting("overlays", "offload")
def report(
    out: Annotated[
        Path | None,
        typer.Option(
            help="the folder that the report is written to; by default reports/latest, -part with --only or --backend"
        ),
    ] = None,
    cases: options.CasesOption = OWN,
    only: Annotated[list[str] | None, typer.Option(help="a case's name; repeatable")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="only settings with this back end; repeatable")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="verify this preset, checkpoint's directory or id with layouts around its own window instead"
        ),
    ] = None,
    weights: options.WeightsOption = None,
    layers: options.LayersOption = None,
    known: options.KnownOption = None,
    of: Annotated[
        Path | None, typer.Option(help="a results.jsonl that a killed run left: report what it has, and run nothing")
    ] = None,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    references: options.ReferencePythons = None,
    official: Annotated[
        bool,
        typer.Option(
            "--official",
            help="ask the official reference too, where its environment is there: a third column, as `make report` has it",
        ),
    ] = False,
    jobs: JobsOption = None,
    ray: RayOption = None,
    needs: NeedsOption = None,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Run the catalogue of cases under every setting and write index.html, results.json, results.csv and junit.xml."""
    from harness.verification.interpreters import platform_of
    from harness.verification.overlaid import having
    from harness.verification.usage import check_named_overlays, check_offload, check_reference, check_releases

    check(ray, needs)
    if of:
        raise typer.Exit(_report_left(of, options.folder(out, "reports/latest", whole=False), format))
    timeouts = Timeouts(timeout, start_timeout)
    catalogue = load(cases)
    heeded = list(dict.fromkeys([*declared(known or [], cases), *catalogue.declared]))
    if official:
        references = _with_official(references)
    if (weights or layers) and not model:
        raise UsageError("weights" if weights else "layers", weights or layers, "with --model")
    spec = checkpoint.model(model, weights, layers) if model else None
    check_named_overlays(serving_python, setting.overlays)
    check_offload(setting, references or [options.THIS_PYTHON])
    serving_python, reference_python, further = options.several(serving_python, references)
    platform = platform_of(serving_python)
    check_named_overlays(serving_python, setting.overlays)
    whole, refused = (
        catalogue.of_model(spec, platform, serving_python)
        if spec
        else (catalogue.entries(platform, serving_python), {})
    )
    if spec:
        check_releases(spec, serving_python, reference_python)
        for python in further:
            check_reference(spec, python)
    if spec and platform == "cpu":
        dtype = max((entry.engine.dtype for _, entry in whole), key=BYTES.__getitem__, default="float32")
        check_memory(spec, dtype, offload=setting.reference.offload, engines=jobs or 1)
    for line in left_out(refused):
        Console(stderr=True).print(line)
    for field, values, there in (
        ("only", only, [case.name for case, _ in whole]),
        ("backend", backend, [entry.engine.backend for _, entry in whole]),
    ):
        for value in values or ():
            if value not in there:
                raise UsageError(
                    field,
                    value,
                    f"what the catalogue of this machine ({platform}) has: {', '.join(dict.fromkeys(there))}",
                )
    chosen = [
        (case, entry.with_(overlays=setting.overlays, offload=setting.reference.offload))
        for case, entry in whole
        if (not only or case.name in only) and (not backend or entry.engine.backend in backend)
    ]
    if not whole:
        takes = f" and {spec.name}" if spec else ""
        raise UsageError("cases", cases, f"a catalogue with a case for this machine ({platform}){takes}")
    if not chosen:
        raise UsageError("backend", ", ".join(backend or ()), f"one that {', '.join(only or ())} is verified with")
    chosen, lacking = having(chosen, spec, serving_python)
    for line in left_out(lacking):
        Console(stderr=True).print(line)
    for one in dict.fromkeys(entry for _, entry in chosen):
        check_offload(one, [reference_python, *further])
    out = options.folder(out, "reports/latest", whole=not (only or backend))
    command = shlex.join(["harness", *sys.argv[1:]])
    results: list[CaseResult] = []

    def extent(why: str) -> Extent:
        had = "were asked for and have what --overlay changes" if lacking else "were asked for"
        part = f"{len(chosen)} of the {len(whole)} results of the catalogue {had}" if len(chosen) < len(whole) else ""
        return Extent(len(results), len(chosen), ended=why, chosen=part)

    def say(why: str) -> None:
        places = {(case.name, case.model, setting.label): place for place, (case, setting) in enumerate(chosen)}
        results.sort(key=lambda one: places.get((one.case, one.model["name"], one.setting["label"]), len(places)))
        _say(results, extent(why), format)

    def write(why: str) -> None:
        if results:
            _write(results, extent(why), out, command, format)
        journal.end(out)

    several = ray is not None or jobs is not None
    with (
        claimed("out", out),
        Session(
            reference_python=reference_python, serving_python=serving_python, timeouts=timeouts, further=further
        ) as session,
        machines(ray, jobs, JOBS) if several else nullcontext() as places,
    ):
        recorder = journal.begin("out", out, command, len(chosen))
        with finishing(say, write):
            if places:
                cells = _cells(chosen, heeded, spec, needs, serving_python)
                with closing(in_parallel(places, cells, serving_python, reference_python, timeouts, further)) as came:
                    _hear(came, len(chosen), recorder, results, session)
            else:
                run_all(session, chosen, heeded, recorder, results, spec)
    raise typer.Exit(max(result.verdict.exit_code for result in results))


def _cells(
    chosen: list[tuple[Case, Setting]],
    heeded: list[Declared],
    spec: ModelSpec | None,
    needs: str | None,
    serving_python: str,
) -> list[Cell]:
    """The cases of each model and engine, which stay with it; first those of the engines that take longest to start."""
    groups: dict[tuple, list[tuple[Case, Setting]]] = {}
    for case, setting in sorted(chosen, key=lambda one: (one[1].engine.mode == "eager", -BYTES[one[1].engine.dtype])):
        groups.setdefault((case.model, setting.engine_key), []).append((case, setting))
    return [
        Cell(
            f"{some[0][1].label}, {', '.join(case.name for case, _ in some)}",
            _verified,
            (some, heeded, spec),
            engine,
            needed(needs, ranks(some[0][1], serving_python)),
        )
        for engine, some in groups.items()
    ]


def _verified(session: Session, some: list[tuple[Case, Setting]], heeded: list[Declared], spec: ModelSpec | None):
    from harness.verification.verify import each_verified

    yield from each_verified(session, some, heeded, spec)


def _hear(
    came: Iterator[Found | Over | Lost],
    planned: int,
    recorder: journal.Recorder,
    results: list[CaseResult],
    session: Session,
) -> None:
    """Keep each result as it comes, and add it to ``results``; a case that a lost cell had told of already is told of once."""
    from harness.verification.verify import without_answer

    console = Console(stderr=True)
    lost: dict[str, list[str]] = {}
    done: dict[str, int] = {}
    heard: Counter[str] = Counter()

    def keep(one: Cell, result: CaseResult, where: str) -> None:
        again = {AGAIN: lost[one.name]} if one.name in lost else {}
        placed = on_node(replace(result, extra={**result.extra, **again}), where)
        results.append(placed)
        recorder.append(placed)
        at = f", on {where}" if where else ""
        console.print(f"{len(results):3}/{planned} {result.verdict:8} {result.case} ({result.setting['label']}){at}")

    for one in came:
        cell = one.cell
        some, heeded, spec = cell.arguments
        match one:
            case Lost(where=where):
                told(one, console)
                lost.setdefault(cell.name, []).append(where)
                heard[cell.name] = 0
            case Found(item=result, where=where):
                heard[cell.name] += 1
                if heard[cell.name] > done.get(cell.name, 0):
                    done[cell.name] = heard[cell.name]
                    keep(cell, result, where)
            case Over(failure=DriverFailure() as failure, where=where):
                for case, setting in some[done.get(cell.name, 0) :]:
                    keep(cell, without_answer(case, setting, spec, failure, session, heeded), where)


def _with_official(references: list[str] | None) -> list[str]:
    """``references``, or transformers, and beside them the official one where its environment is there; it is said which.

    Raises:
        UsageError: the official one is among them already.
    """
    from harness.references.adapter import OFFICIAL, TRANSFORMERS
    from harness.verification import environments

    given = references or [TRANSFORMERS.name]
    if any(text.split("==")[0] == OFFICIAL.name for text in given):
        raise UsageError("official", "on", f"without --reference {OFFICIAL.name}, which it would name again")
    release = f"{OFFICIAL.name}=={OFFICIAL.newest}"
    say = Console(stderr=True).print
    if not environments.is_made(release):
        say(
            f"no third column: `harness environments make {OFFICIAL.name}` makes the environment of the official reference"
        )
        return given
    say(f"a third column: {release}")
    return [*given, release]


def _report_left(path: Path, out: Path, format: options.Format) -> int:
    """Report what a killed run left; the exit code of what is in it."""
    found = journal.left("of", path)
    if not found.results:
        raise UsageError(
            "of", str(path), f"a results.jsonl with a result; none of {found.planned} was there when its run ended"
        )
    extent = Extent(len(found.results), found.planned, ended="killed")
    with (
        claimed("out", out),
        finishing(
            lambda why: _say(found.results, extent, format),
            lambda why: _write(found.results, extent, out, found.command, format),
        ),
    ):
        return max((result.verdict.exit_code for result in found.results), default=0)


def _say(results: list[CaseResult], extent: Extent, format: options.Format) -> None:
    from harness.report.terminal import summary_table

    if format is options.Format.json:
        json.dump([result.to_dict() for result in results], sys.stdout)
        print()
    else:
        Console().print(summary_table(results, extent.sentence))


def _write(results: list[CaseResult], extent: Extent, out: Path, command: str, format: options.Format) -> None:
    from harness.report.files import write_report

    index = write_report(results, out, command, extent)
    if format is not options.Format.json:
        Console().print(f"report: {index}")


def run_all(
    session, chosen, known, recorder: journal.Recorder, results: list[CaseResult], spec: ModelSpec | None = None
) -> None:
    """Run cases with a progress display on standard error; each result is kept and added to ``results`` as it comes."""
    from harness.verification.verify import verify_all

    with progress_bar() as progress:
        task = progress.add_task("starting both sides", total=len(chosen))
        session.told = lambda text: progress.update(task, description=text)

        def done(result: CaseResult) -> None:
            results.append(result)
            recorder.append(result)
            progress.update(
                task, advance=1, description=f"{result.verdict:8} {result.case} [{result.setting['label']}]"
            )
            if not progress.console.is_terminal:
                progress.console.print(
                    f"{len(results):3}/{len(chosen)} {result.verdict:8} {result.case} ({result.setting['label']})"
                )

        verify_all(session, chosen, known, done, spec=spec)
