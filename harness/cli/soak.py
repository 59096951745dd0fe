"""`harness soak`: generated layouts on settings that are right; can be stopped and resumed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.campaigns.soak import BLOCK, SETTINGS, block, summary
from harness.cli import options
from harness.cli.console import Console
from harness.cli.parallel import JOBS, in_parallel
from harness.cli.setting_options import with_setting
from harness.compare.setting import Setting
from harness.drivers.timeouts import Timeouts
from harness.files import atomic, jsonl
from harness.prompts.model_spec import ModelSpec


@with_setting("backend", "dtype")
def soak(
    out: Annotated[Path, typer.Option(help="progress and summary; a run that finds one here goes on with it")] = Path("reports/soak"),
    layouts: Annotated[int, typer.Option(help="how many in all")] = 2000,
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    window: Annotated[int | None, typer.Option(help="sliding window in tokens; by default the preset's")] = None,
    batch: Annotated[int, typer.Option(help="layouts in one engine step")] = 1,
    jobs: Annotated[int, typer.Option(help="engines at the same time")] = JOBS,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Verify generated layouts on settings that are right: V1, and V2 with the patch. Exit code 1 if one diverges."""
    from harness.verification.session import check_usage

    spec = options.preset_with(model, window)
    timeouts = Timeouts(timeout, start_timeout)
    check_usage(setting, serving_python)
    out.mkdir(parents=True, exist_ok=True)
    of = {"model": model, "window": spec.window, **setting.to_dict()}
    done = {(each["setting"], each["seed"]): each for each in jsonl.read(out / "blocks.jsonl") if each.get("of") == of}
    wanted = [(name, seed) for name in SETTINGS for seed in range(-(-layouts // (BLOCK * len(SETTINGS))))]
    todo = [(*key, spec, setting, batch) for key in wanted if key not in done]
    console = Console(stderr=True)
    console.print(f"{len(wanted) - len(todo)} of {len(wanted)} blocks of {BLOCK} layouts are done already")
    try:
        for found in in_parallel(_block, todo, jobs, serving_python, reference_python, timeouts):
            done[found["setting"], found["seed"]] = found
            jsonl.append(out / "blocks.jsonl", [{**found, "of": of}])
            console.print(
                f"{len(done):3}/{len(wanted)} {found['setting']}: {found['layouts']} layouts, {len(found['failures'])} "
                f"failures, {found['seconds']:.0f} s"
            )
    except KeyboardInterrupt:
        console.print("interrupted; the next run goes on from here")
    found = summary([done[key] for key in wanted if key in done])
    atomic.write_text(out / "summary.json", json.dumps(found, indent=1))
    if format is options.Format.json:
        json.dump(found, sys.stdout, indent=1)
        print()
    else:
        Console().print_json(data=found)
    complete = all(key in done for key in wanted)
    raise typer.Exit(1 if found["failures"] else 0 if complete else 130)


def _block(session, setting: str, seed: int, spec: ModelSpec, base: Setting, batch: int) -> dict:
    return block(session, setting, seed, spec, base, batch)
