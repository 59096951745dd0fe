"""`harness mutants` and `harness soak`: generated layouts against planted faults, and against settings that are right."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.checkpoint.presets import preset
from harness.cli import options
from harness.compare.result import CaseResult
from harness.errors import UsageError
from harness.overlays import OVERLAYS

JOBS = min(2, os.cpu_count() or 1)


def mutants(
    out: Annotated[Path, typer.Option(help="the folder that the report is written to")] = Path("reports/mutants"),
    only: Annotated[list[str] | None, typer.Option(help="a mutant's name; repeatable")] = None,
    examples: Annotated[int, typer.Option(help="generated layouts before a mutant counts as survivor")] = 40,
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    jobs: Annotated[int, typer.Option(help="engines at the same time")] = JOBS,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    format: options.FormatOption = options.Format.text,
) -> None:
    """Hunt every mutant with generated layouts and print the kill matrix. Exit code 1 if one survives."""
    from harness.report.bundle import write_report
    from harness.session import host_of

    preset(model)
    names = [name for name, overlay in OVERLAYS.items() if overlay.kind == "mutant"]
    for name in only or ():
        if name not in names:
            raise UsageError("only", name, f"a mutant: {', '.join(names)}")
    _at_least("examples", examples, 1)
    _at_least("jobs", jobs, 1)
    host_of(serving_python)
    chosen = [name for name in names if not only or name in only]
    kills, results = [], []
    console = Console(stderr=True)
    arguments = [(name, model, examples, serving_python) for name in chosen]
    for kill, found in _parallel(_hunt, arguments, jobs):
        kills.append(kill)
        results += [CaseResult.from_dict(result) for result in found]
        caught = f"caught by {kill['caught_by']} after {kill['examples']}" if kill["caught_by"] else "not caught"
        console.print(f"{len(kills):3}/{len(chosen)} {kill['mutant']}: {caught} ({kill['seconds']:.0f} s)", highlight=False)
    kills.sort(key=lambda kill: chosen.index(kill["mutant"]))
    index = write_report(results, out, command=" ".join(["harness", *sys.argv[1:]]))
    _write(out / "kill-matrix.json", kills)
    if format is options.Format.json:
        json.dump(kills, sys.stdout, indent=1)
        print()
    else:
        Console().print(_matrix(kills))
        Console().print(f"report: {index}", soft_wrap=True)
    raise typer.Exit(0 if all(kill["right"] for kill in kills) else 1)


def soak(
    out: Annotated[Path, typer.Option(help="progress and summary; a run that finds one here goes on with it")] = Path("reports/soak"),
    layouts: Annotated[int, typer.Option(help="how many in all")] = 2000,
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    jobs: Annotated[int, typer.Option(help="engines at the same time")] = JOBS,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    format: options.FormatOption = options.Format.text,
) -> None:
    """Verify generated layouts on settings that are right: V1, and V2 with the patch. Exit code 1 if one diverges."""
    from harness.session import host_of

    preset(model)
    _at_least("layouts", layouts, 1)
    _at_least("jobs", jobs, 1)
    host_of(serving_python)
    out.mkdir(parents=True, exist_ok=True)
    done = {(block["setting"], block["seed"]): block for block in _blocks(out)}
    from harness.soak import BLOCK, SETTINGS

    wanted = [(setting, seed) for seed in range(-(-layouts // (BLOCK * len(SETTINGS)))) for setting in SETTINGS]
    todo = [(setting, seed, model, serving_python) for setting, seed in wanted if (setting, seed) not in done]
    console = Console(stderr=True)
    console.print(f"{len(wanted) - len(todo)} of {len(wanted)} blocks of {BLOCK} layouts are done already")
    try:
        for block in _parallel(_soak_block, todo, jobs):
            done[block["setting"], block["seed"]] = block
            _append(out / "blocks.jsonl", block)
            console.print(
                f"{len(done):3}/{len(wanted)} {block['setting']}: {block['layouts']} layouts, {len(block['failures'])} "
                f"failures, {block['seconds']:.0f} s",
                highlight=False,
            )
    except KeyboardInterrupt:
        console.print("interrupted; the next run goes on from here")
    summary = _summary([done[key] for key in wanted if key in done])
    _write(out / "summary.json", summary)
    if format is options.Format.json:
        json.dump(summary, sys.stdout, indent=1)
        print()
    else:
        Console().print_json(data=summary)
    complete = all(key in done for key in wanted)
    raise typer.Exit(1 if summary["failures"] else 0 if complete else 130)


def _hunt(name: str, model: str, examples: int, python: str) -> tuple[dict, list[dict]]:
    from cases.catalogue import DROP

    from harness.hunt import hunt
    from harness.session import Session

    with Session(serving_python=python) as session:
        kill, results = hunt(session, name, preset(model), DROP, examples)
    return kill.to_dict(), [result.to_dict() for result in results]


def _soak_block(setting: str, seed: int, model: str, python: str) -> dict:
    from harness.soak import block

    return block(setting, seed, preset(model), python)


def _parallel(work, arguments: list[tuple], jobs: int) -> Iterator:
    """Results as they come; the workers of a run that ends early are killed, and their drivers with them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = [pool.submit(work, *each) for each in arguments]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.kill()
            raise


def _matrix(kills: list[dict]) -> Table:
    table = Table("mutant", "setting", "caught by", "after", "smallest layouts", "diagnosis", title="kill matrix")
    for kill in kills:
        caught = kill["caught_by"] or ("equivalent" if kill["equivalent"] else "[bold red]survived[/]")
        layouts = "\n".join(f"{layout}" for layout in kill["layouts"])
        words = kill["equivalent"] or kill["diagnosis"]
        table.add_row(kill["mutant"], kill["setting"], caught, str(kill["examples"]), layouts, words[:160])
    return table


def _summary(blocks: list[dict]) -> dict:
    ratios = sorted(ratio for block in blocks for ratio in block["ratios"])
    return {
        "layouts": sum(block["layouts"] for block in blocks),
        "by setting": {name: sum(b["layouts"] for b in blocks if b["setting"] == name) for name in sorted({b["setting"] for b in blocks})},
        "tokens": sum(block["tokens"] for block in blocks),
        "seconds": round(sum(block["seconds"] for block in blocks), 1),
        "failures": [failure for block in blocks for failure in block["failures"]],
        "logits error / noise floor": {
            "median": ratios[len(ratios) // 2] if ratios else None,
            "99 %": ratios[len(ratios) * 99 // 100] if ratios else None,
            "largest": ratios[-1] if ratios else None,
        },
        "largest logits error": max((block["largest"] for block in blocks), default=None),
    }


def _blocks(out: Path) -> list[dict]:
    path = out / "blocks.jsonl"
    blocks = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            blocks.append(json.loads(line))
        except ValueError:
            continue
    return blocks


def _append(path: Path, block: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(block) + "\n")


def _write(path: Path, data: object) -> None:
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(data, indent=1))
    os.replace(beside, path)


def _at_least(field: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(field, value, f"at least {least}")


