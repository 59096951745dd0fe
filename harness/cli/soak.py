"""`harness soak`: generated layouts on settings that are right; can be stopped and resumed."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from harness.campaigns.soak import BLOCK, block, identity, key_of, settings_of, shares, summary, unanswered
from harness.cli import options
from harness.cli.finish import finishing
from harness.cli.machines import JobsOption, NeedsOption, RayOption, check, machines, needed, told
from harness.cli.parallel import JOBS, in_parallel
from harness.cli.setting_options import with_setting
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure
from harness.files import atomic, jsonl
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.verification.catalogue import declared
from harness.verification.gpus import ranks
from harness.verification.machines import Cell, Found, Lost, Over
from harness.verification.made_with import content


@with_setting("backend", "dtype")
def soak(
    out: Annotated[Path, typer.Option(help="progress and summary; a run that finds one here goes on with it")] = Path(
        "reports/soak"
    ),
    layouts: Annotated[int, typer.Option(help="how many in all")] = 2000,
    model: Annotated[str, typer.Option(help="a preset, or a checkpoint's directory or id")] = "tiny",
    window: Annotated[int | None, typer.Option(help="sliding window in tokens; by default the preset's")] = None,
    weights: options.WeightsOption = None,
    layers: options.LayersOption = None,
    known: options.KnownOption = None,
    batch: Annotated[int, typer.Option(help="layouts in one engine step")] = 1,
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
    """Verify generated layouts on settings that are right: V1, and V2 with the patch. Exit code 1 if one diverges, 3 if one has
    no answer."""
    from harness.verification import usage

    check(ray, needs)
    spec = options.model_with(model, window, weights, layers)
    heeded = declared(known or [])
    timeouts = Timeouts(timeout, start_timeout)
    each_setting = [setting.with_(**changed) for changed in settings_of(spec).values()]
    for under in each_setting:
        usage.check_named(under, spec, serving_python, [reference_python])
    sides = [content(serving_python, "serving"), content(reference_python, "reference")]
    serving_python, reference_python = options.interpreters(serving_python, reference_python)
    for under in each_setting:
        usage.check(under, spec, serving_python, reference_python)
    each = needed(needs, ranks(setting, serving_python))
    with claimed("out", out), machines(ray, jobs, JOBS) as chosen:
        path = out / "layouts.jsonl"
        of = {**identity(spec, setting, batch, serving_python, reference_python, heeded), "sides": sides}
        key, planned = key_of(of), shares(layouts)
        lines = jsonl.of_key(path, key)
        if not lines:
            jsonl.append(path, [{"key": key, "of": of}])
        answers = _answered((line for line in lines if "index" in line), planned)
        console = Console(stderr=True)
        console.print(f"{len(answers)} of {layouts} layouts are done already")
        cells = [
            Cell(f"{name}, block {number}", block, (*place, spec, setting, batch, *filter(None, [heeded])), name, each)
            for place in _missing(answers, planned)
            for name, number, *_ in [place]
        ]
        unknown: list[dict] = []
        lost: list[dict] = []

        def found() -> dict:
            return summary([*answers.values(), *unknown], layouts, lost)

        def say(why: str) -> None:
            if format is options.Format.json:
                json.dump(found(), sys.stdout, indent=1)
                print()
            else:
                Console().print_json(data=found())
            if why:
                console.print(f"{why}, {len(answers)} of {layouts} layouts; the next run goes on from here")

        def write(why: str) -> None:
            part = Extent(len(answers), layouts, "layouts", why).to_dict() if why else None
            if answers or unknown:
                atomic.write_text(out / "summary.json", json.dumps({"part": part, **found()}, indent=1))

        blocks = in_parallel(chosen, cells, serving_python, reference_python, timeouts)
        with finishing(say, write), closing(blocks):
            for one in blocks:
                name, number, first, end, *_ = one.cell.arguments
                match one:
                    case Lost():
                        lost.append(told(one, console))
                        continue
                    case Found(item=came, where=where):
                        shown = [{**answer, "node": where} for answer in came] if where else came
                        jsonl.append(path, ({"key": key, **answer} for answer in shown))
                        answers.update((_place(answer), answer) for answer in shown)
                    case Over(failure=DriverFailure() as failure):
                        gone = [index for index in range(first, end) if (name, number, index) not in answers]
                        shown = [unanswered(name, number, index, failure) for index in gone]
                        unknown += shown
                    case _:
                        continue
                _progress(console, shown, len(answers), layouts)
    worst = found()
    raise typer.Exit(3 if worst["no answer"] else 1 if worst["failures"] else 0)


def _progress(console: Console, came: list[dict], done: int, layouts: int) -> None:
    """A line for each `BLOCK` layouts, and for every failure as soon as it is known."""
    for answer in came:
        if not Verdict(answer["verdict"]).as_expected:
            console.print(f"{answer['verdict']}: {answer['diagnosis']}; {answer['reproduce']}")
    if done // BLOCK > (done - len(came)) // BLOCK or done == layouts:
        console.print(f"{done}/{layouts} layouts")


def _place(answer: dict) -> tuple[str, int, int]:
    return answer["setting"], answer["block"], answer["index"]


def _answered(lines: Iterable[dict], planned: dict[str, int]) -> dict[tuple[str, int, int], dict]:
    """What is known already of the layouts that are planned, by setting, block and index. Where there was no answer, it is
    looked for again."""
    last = {_place(line): line for line in lines}
    wanted = ((name, place // BLOCK, place % BLOCK) for name, share in planned.items() for place in range(share))
    return {place: last[place] for place in wanted if place in last and last[place]["verdict"] != Verdict.ERROR}


def _missing(answers: Container[tuple[str, int, int]], planned: dict[str, int]) -> Iterator[tuple[str, int, int, int]]:
    """Setting, block, first and end of what is to be done, from the first layout of a block that has no answer."""
    for name, share in planned.items():
        for number in range(-(-share // BLOCK)):
            end = min(BLOCK, share - number * BLOCK)
            first = next((index for index in range(end) if (name, number, index) not in answers), end)
            if first < end:
                yield name, number, first, end
