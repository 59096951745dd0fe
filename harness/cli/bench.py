"""`harness bench`: layouts a minute."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from multiprocessing.managers import SyncManager
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from harness.campaigns.bench import layout_of, stream
from harness.cli import options
from harness.cli.console import Console
from harness.cli.parallel import in_parallel
from harness.cli.setting_options import with_setting
from harness.compare.setting import Setting
from harness.drivers.supervise import die_with
from harness.drivers.timeouts import Timeouts
from harness.families.gemma4.presets import preset
from harness.families.gemma4.prompts import prompt_for
from harness.prompts.model_spec import ModelSpec

TOKENS = (24, 32, 64, 128, 256, 500)


@with_setting("backend", "runner", "dtype", runner="v1")
def bench(
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    tokens: Annotated[list[int] | None, typer.Option(help="tokens a layout; repeatable")] = None,
    layers: Annotated[list[str] | None, typer.Option(help="layer patterns, for instance sf; repeatable")] = None,
    batch: Annotated[int, typer.Option(help="layouts in one engine step")] = 1,
    step: Annotated[int | None, typer.Option(help="instead of --batch: as many layouts a step as fit into this many tokens")] = None,
    seconds: Annotated[float, typer.Option(help="how long layouts of each length are verified")] = 10.0,
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
    from harness.verification.session import Session, check_usage

    spec = preset(model)
    timeouts = Timeouts(timeout, start_timeout)
    for count in tokens or ():
        prompt_for(layout_of(count, spec.window, 0), spec)
    check_usage(setting, serving_python)
    specs = [spec.with_(layers=pattern) for pattern in layers or [spec.layers]]
    rows: list[dict] = []
    console = Console(stderr=True)
    try:
        with Session(reference_python=reference_python, serving_python=serving_python, timeouts=timeouts) as session:
            for one in specs:
                for count in tokens or TOKENS:
                    with console.working(f"{count} tokens, layers {one.layers}"):
                        rows.append(measure(session, one, setting, count, max(1, min(64, step // count)) if step else batch, seconds))
                    console.print(f"{count} tokens: {rows[-1].get('layouts a minute', 'ERROR')} layouts a minute")
        for row in rows if jobs > 1 else ():
            with console.working(f"{row['tokens']} tokens, layers {row['layers']}, {jobs} engines"):
                one = spec.with_(layers=row["layers"])
                barrier = _manager().Barrier(jobs)
                work = [(one, setting, row["tokens"], row["batch"], seconds, barrier)] * jobs
                row[f"a minute, {jobs} engines"] = round(sum(in_parallel(_stream, work, jobs, serving_python, reference_python, timeouts)), 1)
    except KeyboardInterrupt:
        console.print("interrupted: this is what was measured until now")
        _show(rows, model, setting, format)
        raise typer.Exit(130) from None
    _show(rows, model, setting, format)


def _manager() -> SyncManager:
    """A process for what workers share, which ends with this one."""
    manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
    manager.start(die_with, (os.getpid(),))
    return manager


def _show(rows: list[dict], model: str, setting: Setting, format: options.Format) -> None:
    if format is options.Format.json:
        json.dump(rows, sys.stdout, indent=1)
        print()
    elif rows:
        table = Table("tokens", *(str(row["tokens"]) for row in rows), title=f"{model}, {setting.label}", box=box.SIMPLE_HEAD)
        for name in max(rows, key=len):
            if name != "tokens":
                table.add_row(name, *(str(row.get(name, "")) for row in rows))
        Console().print(table)


def _stream(session, spec: ModelSpec, setting: Setting, tokens: int, batch: int, seconds: float, barrier) -> float:
    return stream(session, spec, setting, tokens, batch, seconds, barrier.wait)[0]
