"""`harness bench`: layouts a minute."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.managers import SyncManager
from pathlib import Path
from threading import BrokenBarrierError
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from harness.campaigns.bench import layout_of, stream
from harness.cli import options
from harness.cli.finish import finishing
from harness.cli.parallel import in_parallel
from harness.cli.setting_options import with_setting
from harness.compare.setting import Setting
from harness.console import Console
from harness.drivers.supervise import die_with
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure, UsageError
from harness.families.registry import preset, prompt_for
from harness.files import atomic
from harness.prompts.model_spec import ModelSpec
from harness.report import journal
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.verification.machines import Cell, Found, Over, Processes

TOKENS = (24, 32, 64, 128, 256, 500)


@with_setting("backend", "runner", "dtype", runner="v1")
def bench(
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    tokens: Annotated[list[int] | None, typer.Option(help="tokens a layout; repeatable")] = None,
    layers: Annotated[list[str] | None, typer.Option(help="layer patterns, for instance sf; repeatable")] = None,
    batch: Annotated[int | None, typer.Option(help="layouts in one engine step; by default 1")] = None,
    step: Annotated[
        int | None, typer.Option(help="instead of --batch: as many layouts a step as fit into this many tokens")
    ] = None,
    seconds: Annotated[float, typer.Option(help="how long layouts of each length are verified")] = 10.0,
    out: Annotated[Path, typer.Option(help="the folder that bench.json is written to")] = Path("reports/bench"),
    jobs: Annotated[int, typer.Option(help="engines at the same time, for the column of that name")] = 1,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Measure verified layouts a minute, and their ratio to a plain forward of the same prompts."""
    from harness.campaigns.bench import measure
    from harness.verification import usage
    from harness.verification.session import Session

    spec = preset(model)
    timeouts = Timeouts(timeout, start_timeout)
    for count in tokens or TOKENS:
        for index in range(3):
            prompt_for(layout_of(count, spec, index), spec)
    if batch and step:
        raise UsageError("batch and step", f"{batch} and {step}", "one of the two")
    batch = batch or 1
    usage.check_named(setting, spec, serving_python, [reference_python])
    serving_python, reference_python = options.interpreters(serving_python, reference_python)
    usage.check(setting, spec, serving_python, reference_python)
    specs = [spec.with_(layers=pattern) for pattern in layers or [spec.layers]]
    counts = tokens or TOKENS
    rows: list[dict] = []
    console = Console(stderr=True)
    command = shlex.join(["harness", *sys.argv[1:]])

    def say(why: str) -> None:
        _show(rows, model, setting, format)
        if why:
            console.print(f"{why}, {len(rows)} of {len(specs) * len(counts)} lengths")

    def write(why: str) -> None:
        part = Extent(len(rows), len(specs) * len(counts), "lengths", why).to_dict() if why else None
        found = {"command": command, "model": model, "setting": setting.label, "part": part, "rows": rows}
        if rows:
            atomic.write_text(out / "bench.json", json.dumps(found, indent=1))
        journal.end(out)

    with claimed("out", out):
        recorder = journal.begin("out", out, command)
        with finishing(say, write):
            with Session(
                reference_python=reference_python, serving_python=serving_python, timeouts=timeouts
            ) as session:
                for one in specs:
                    for count in counts:
                        with console.working(f"{count} tokens, layers {one.layers}"):
                            most = max(1, min(64, step // count)) if step else batch
                            rows.append(measure(session, one, setting, count, most, seconds))
                        recorder.note("row", [rows[-1]])
                        console.print(f"{count} tokens: {rows[-1].get('layouts a minute', 'ERROR')} layouts a minute")
            for row in rows if jobs > 1 else ():
                with console.working(f"{row['tokens']} tokens, layers {row['layers']}, {jobs} engines"):
                    one = spec.with_(layers=row["layers"])
                    row[f"a minute, {jobs} engines"] = _together(
                        one, setting, row, seconds, jobs, serving_python, reference_python, timeouts
                    )
                recorder.note("row", [row])
    raise typer.Exit(3 if any("error" in row or "ERROR" in row.values() for row in rows) else 0)


def _together(
    spec: ModelSpec,
    setting: Setting,
    row: dict,
    seconds: float,
    jobs: int,
    serving_python: str,
    reference_python: str,
    timeouts: Timeouts,
) -> float | str:
    """Layouts a minute of several engines that begin at the same moment; "ERROR" if one of them failed, or what they share."""
    rates: list[float | DriverFailure] = []
    try:
        with _manager() as manager:
            barrier = manager.Barrier(jobs)
            cell = Cell("bench", _stream, (spec, setting, row["tokens"], row["batch"], seconds, barrier))
            together = in_parallel(Processes(jobs), [cell] * jobs, serving_python, reference_python, timeouts)
            with closing(together) as streams:
                for told in streams:
                    match told:
                        case Found(item=rate):
                            rates.append(rate)
                        case Over(failure=DriverFailure() as failure):
                            barrier.abort()
                            rates.append(failure)
    except (EOFError, ConnectionError):
        return "ERROR"
    measured = [rate for rate in rates if not isinstance(rate, DriverFailure)]
    return "ERROR" if len(measured) < len(rates) else round(sum(measured), 1)


def _manager() -> SyncManager:
    """A process for what workers share, which ends with this one."""
    manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
    manager.start(_bound, (os.getpid(),))
    return manager


def _bound(parent: int) -> None:
    """Of what fails in the manager those who ask it are told; where they have ended nobody is."""
    die_with(parent)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _show(rows: list[dict], model: str, setting: Setting, format: options.Format) -> None:
    if format is options.Format.json:
        json.dump(rows, sys.stdout, indent=1)
        print()
    elif rows:
        table = Table(
            "tokens", *(str(row["tokens"]) for row in rows), title=f"{model}, {setting.label}", box=box.SIMPLE_HEAD
        )
        for name in max(rows, key=len):
            if name != "tokens":
                table.add_row(name, *(str(row.get(name, "")) for row in rows))
        Console().print(table)


def _stream(
    session, spec: ModelSpec, setting: Setting, tokens: int, batch: int, seconds: float, barrier
) -> Iterator[float]:
    """Yield the rate; where another engine failed before all began, there is none."""
    try:
        yield stream(session, spec, setting, tokens, batch, seconds, barrier.wait)[0]
    except BrokenBarrierError:
        raise DriverFailure("another engine failed", stage="bench") from None
