"""`harness run`: one layout, or one case of the catalogue."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from harness.cli import options
from harness.cli.console import Console
from harness.cli.finish import finishing
from harness.cli.setting_options import with_setting
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.drivers.timeouts import Timeouts
from harness.errors import UsageError
from harness.families.gemma4.given import model as checkpoint
from harness.families.gemma4.prompts import prompt_for
from harness.prompts.case import IMAGE, Case
from harness.prompts.layout import Layout
from harness.report.folder import claimed
from harness.verification.catalogue import OWN, load


@with_setting()
def run(
    layout: Annotated[str | None, typer.Option(help='for instance "t3 i5 t4 i12 t3"')] = None,
    case: Annotated[str | None, typer.Option(help="the name of a case of the catalogue, with its declared divergences")] = None,
    cases: options.CasesOption = OWN,
    picture: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT: a drawn picture through both processors")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="a picture's file, through both processors; repeatable")] = None,
    text: Annotated[str | None, typer.Option(help=f"the text of the prompt, with {IMAGE} for each --image")] = None,
    model: Annotated[
        str, typer.Option(help="a preset (`harness show --models`), a directory with a Gemma 4 checkpoint, or a hub id")
    ] = "tiny",
    window: Annotated[int | None, typer.Option(help="sliding window in tokens; by default the preset's")] = None,
    seed: Annotated[int, typer.Option(help="draws the words and pictures of a layout")] = 0,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
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
    chosen, declared = _chosen(layout, case, picture, image or [], text, model, cases)
    chosen = replace(chosen, seed=seed)
    spec = checkpoint(chosen.model)
    for index in setting.selection.layers:
        if not 0 <= index < len(spec.layers):
            raise UsageError("observe-layer", index, f"0 to {len(spec.layers) - 1}, the layers of {spec.name}")
    if spec.source and chosen.layout:
        raise UsageError("layout", chosen.layout, "a preset's; give a checkpoint --text and --image")
    if spec.source and not Path(spec.source).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "0"
    if window is not None:
        spec = spec.with_(window=window)
    if chosen.layout:
        prompt_for(Layout.parse(chosen.layout), spec)
    for beside in setting.scenario.mates:
        prompt_for(Layout.parse(beside), spec)
    from harness.engines.vllm.overlays import check_names
    from harness.report.bundle import write_report
    from harness.verification.session import Session, check_usage
    from harness.verification.verify import verify

    check_names(setting.overlays)
    check_usage(setting, serving_python)
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
            with console.working(f"{chosen.name}: starting both sides, {setting.label}"):
                results.append(verify(session, chosen, setting, declared, spec=spec))
    raise typer.Exit(results[0].verdict.exit_code)


def show(result: CaseResult, format: options.Format) -> None:
    """Print a result for people or, without the masks, as JSON."""
    if format is options.Format.json:
        layers = [replace(layer, masks={}) for layer in result.layers]
        json.dump(replace(result, layers=layers).to_dict(), sys.stdout, indent=1)
        print()
        return
    from harness.report.terminal import case_panel

    Console().print(case_panel(result))


def _chosen(
    layout: str | None, case: str | None, picture: str | None, image: list[Path], text: str | None, model: str, cases: str
):
    ways = (("layout", layout), ("case", case), ("picture", picture), ("image or text", image or text))
    given = [name for name, value in ways if value is not None and value != []]
    if len(given) != 1:
        allowed = "give exactly one of layout, case, picture, and text with images"
        raise UsageError("layout, case, picture, image", " and ".join(given) or "none of them", allowed)
    if case:
        catalogue = load(cases)
        return catalogue.case(case), catalogue.declared
    if picture:
        size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", picture)
        if not size:
            raise UsageError("picture", picture, "WIDTHxHEIGHT in pixels")
        return Case("run", "a picture", model=model, picture=(int(size[1]), int(size[2]))), []
    if layout:
        return Case("run", layout, layout=str(Layout.parse(layout)), model=model), []
    return _with_images(image, text, model), []


def _with_images(image: list[Path], text: str | None, model: str) -> Case:
    for path in image:
        try:
            Image.open(path).verify()
        except (OSError, SyntaxError):
            raise UsageError("image", str(path), "a file with a picture that can be read") from None
    text = text if text is not None else " ".join([*[IMAGE] * len(image), "What is shown here ?"])
    if text.count(IMAGE) != len(image):
        raise UsageError("text", text, f"{IMAGE} once for each of the {len(image)} images")
    return Case("run", text, model=model, images=tuple(str(path.absolute()) for path in image), text=text)
