"""`harness run`: one layout, or one case of the catalogue."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.case import IMAGE
from harness.checkpoint.given import asks_hub
from harness.cli import options
from harness.cli.asked import asked
from harness.cli.console import Console
from harness.cli.finish import finishing
from harness.compare.result import CaseResult, Verdict
from harness.report.folder import claimed
from harness.timeouts import Timeouts

EXIT_CODES = {
    Verdict.PASS: 0, Verdict.KNOWN: 0, Verdict.CAUGHT: 0,
    Verdict.DIVERGED: 1, Verdict.FIXED: 1, Verdict.SURVIVED: 1,
    Verdict.ERROR: 3,
}  # fmt: skip


def run(
    layout: Annotated[str | None, typer.Option(help='for instance "t3 i5 t4 i12 t3"')] = None,
    case: Annotated[str | None, typer.Option(help="the name of a case of the catalogue, with its declared divergences")] = None,
    picture: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT: a drawn picture through both processors")] = None,
    image: Annotated[list[str] | None, typer.Option(help="a picture's file, through both processors; repeatable")] = None,
    text: Annotated[str | None, typer.Option(help=f"the text of the prompt, with {IMAGE} for each --image")] = None,
    model: Annotated[
        str,
        typer.Option(
            help="a preset (`harness show --models`), a directory with a Gemma 4 checkpoint, the id of one that is in the "
            "hub's cache here, or hf:ORG/NAME to ask the hub for it"
        ),
    ] = "tiny",
    window: Annotated[int | None, typer.Option(help="sliding window in tokens; by default the preset's")] = None,
    known: Annotated[bool, typer.Option("--known", help="heed the divergences that the catalogue declares, as --case does")] = False,
    seed: Annotated[int, typer.Option(help="draws the words and pictures of a layout")] = 0,
    backend: options.Backend = "triton",
    runner: options.Runner = "auto",
    dtype: options.Dtype = "float32",
    kv_dtype: options.KvDtype = "auto",
    mode: options.Mode = "eager",
    chunk: options.Chunk = None,
    prefix_caching: options.PrefixCaching = False,
    mate: options.Mate = None,
    mate_after: options.MateAfter = None,
    tensor_parallel: options.TensorParallel = 1,
    overlay: options.Overlay = None,
    reference: options.Reference = "eager",
    block_size: options.BlockSize = 32,
    serving_arg: options.ServingArg = None,
    observe_layer: Annotated[list[int] | None, typer.Option(help="only this layer's mask; repeatable")] = None,
    logits_at: Annotated[
        list[int] | None, typer.Option(help="only this position's logits, -1 is the last; repeatable")
    ] = None,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    html: Annotated[Path | None, typer.Option(help="write the HTML report of this case into this folder too")] = None,
    keep: Annotated[Path | None, typer.Option(help="keep captures and logs in this folder")] = None,
    format: options.FormatOption = options.Format.text,
) -> None:
    """Run one layout on both sides and compare masks and logits."""
    setting = options.setting_of(
        backend, runner, dtype, kv_dtype, mode, chunk, prefix_caching, mate, tensor_parallel, overlay, reference,
        block_size, serving_arg,
    ).with_(layers=tuple(observe_layer or ()), positions=tuple(logits_at or ()), mates_after=tuple(mate_after or ()))  # fmt: skip
    timeouts = Timeouts(timeout, start_timeout)
    what = asked(layout, case, picture, image or [], text, model, window, seed, setting, known)
    if asks_hub(model):
        os.environ.setdefault("HF_HUB_OFFLINE", "0")
    from harness import usage
    from harness.report.bundle import write_report
    from harness.session import Session
    from harness.verify import verify

    serving_python, reference_python = options.interpreters(serving_python, reference_python)
    usage.check(setting, what.spec, serving_python, reference_python, what.tokens)
    console = Console(stderr=True)
    results: list[CaseResult] = []

    def say(why: str) -> None:
        for result in results:
            show(result, format)

    def write(why: str) -> None:
        if html and results:
            index = write_report(results, html, command=results[0].reproduce)
            console.print(f"report: {index}")

    with ExitStack() as claims:
        for field, folder in (("html", html), ("keep", keep)):
            if folder:
                claims.enter_context(claimed(field, folder))
        session = Session(reference_python=reference_python, serving_python=serving_python, keep=keep, timeouts=timeouts)
        with session, finishing(say, write):
            with console.working(f"{what.case.name}: starting both sides, {setting.label}"):
                results.append(verify(session, what.case, setting, what.declared, spec=what.spec))
    raise typer.Exit(EXIT_CODES[results[0].verdict])


def show(result: CaseResult, format: options.Format) -> None:
    """Print a result for people or, without the masks, as JSON."""
    if format is options.Format.json:
        layers = [replace(layer, masks={}) for layer in result.layers]
        json.dump(replace(result, layers=layers).to_dict(), sys.stdout, indent=1)
        print()
        return
    from harness.report.terminal import case_panel, reproduce_line

    console = Console()
    console.print(case_panel(result))
    console.print(reproduce_line(result))
