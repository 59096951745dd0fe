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

from harness.cli import options
from harness.cli.asked import Files, asked
from harness.cli.finish import finishing
from harness.cli.setting_options import with_setting
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.families.checkpoint import asks_hub
from harness.prompts.case import AUDIO, IMAGE, VIDEO
from harness.report.folder import claimed
from harness.verification.catalogue import OWN


@with_setting()
def run(
    layout: Annotated[str | None, typer.Option(help='for instance "t3 i5 t4 i12 t3"')] = None,
    case: Annotated[
        str | None, typer.Option(help="the name of a case of the catalogue, with its declared divergences")
    ] = None,
    cases: options.CasesOption = OWN,
    picture: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT: a drawn picture through both processors")] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="a picture's file, through both processors; repeatable")
    ] = None,
    video: Annotated[
        list[str] | None,
        typer.Option(help="a video's file, through both processors, which each take frames of it; repeatable"),
    ] = None,
    audio: Annotated[list[str] | None, typer.Option(help="a WAV file, through both processors; repeatable")] = None,
    text: Annotated[
        str | None,
        typer.Option(help=f"the text of the prompt, with {IMAGE} for each --image, {VIDEO} and {AUDIO} for the others"),
    ] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat", help="the text is a user's message, after the files, through the checkpoint's chat template"
        ),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            help="a preset (`harness show --models`), a directory with a checkpoint of Gemma 4 or 3, the id of one that is in the "
            "hub's cache here, or hf:ORG/NAME to ask the hub for it"
        ),
    ] = "tiny",
    window: Annotated[int | None, typer.Option(help="sliding window in tokens; by default the preset's")] = None,
    weights: options.WeightsOption = None,
    layers: options.LayersOption = None,
    known: options.KnownOption = None,
    seed: Annotated[int, typer.Option(help="draws the words and pictures of a layout")] = 0,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    references: options.ReferencePythons = None,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    html: Annotated[Path | None, typer.Option(help="write the HTML report of this case into this folder too")] = None,
    keep: Annotated[Path | None, typer.Option(help="keep captures and logs in this folder")] = None,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Run one layout on both sides and compare masks and logits."""
    timeouts = Timeouts(timeout, start_timeout)
    what = asked(
        layout,
        case,
        picture,
        Files(image or (), video or (), audio or (), chat),
        text,
        model,
        weights,
        layers,
        window,
        seed,
        setting,
        known or [],
        cases,
    )
    if asks_hub(model):
        os.environ.setdefault("HF_HUB_OFFLINE", "0")
    from harness.report.files import write_report
    from harness.verification import usage
    from harness.verification.session import Session
    from harness.verification.verify import verify

    asked_for = what.tokens, what.before, what.items
    usage.check_named(setting, what.spec, serving_python, references or [options.THIS_PYTHON], *asked_for)
    serving_python, reference_python, further = options.several(serving_python, references)
    usage.check(setting, what.spec, serving_python, reference_python, *asked_for)
    for python in further:
        usage.check_reference(what.spec, python)
    usage.check_decoders(what.case, serving_python, [reference_python, *further])
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
        working = console.working(f"{what.case.name}: starting both sides, {setting.label}")
        session = Session(
            reference_python=reference_python,
            serving_python=serving_python,
            keep=keep,
            timeouts=timeouts,
            further=further,
            told=console.telling(working, what.case.name),
        )
        with session, finishing(say, write), working:
            results.append(verify(session, what.case, setting, what.declared, spec=what.spec))
    raise typer.Exit(results[0].verdict.exit_code)


def show(result: CaseResult, format: options.Format) -> None:
    """Print a result for people or, without the masks, as JSON."""
    if format is options.Format.json:
        layers = [replace(layer, masks={}) for layer in result.layers]
        further = [replace(one, layers=[replace(each, mask="") for each in one.layers]) for one in result.further]
        json.dump(replace(result, layers=layers, further=further).to_dict(), sys.stdout, indent=1)
        print()
        return
    from harness.report.terminal import case_panel, reproduce_line

    console = Console()
    console.print(case_panel(result))
    console.print(reproduce_line(result))
