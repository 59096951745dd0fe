"""`harness report`: the catalogue, and its HTML report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.console import Console, progress_bar
from harness.cli.setting_options import with_setting
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.drivers.timeouts import Timeouts
from harness.errors import UsageError


@with_setting("overlays")
def report(
    out: Annotated[Path, typer.Option(help="the folder that the report is written to")] = Path("reports/latest"),
    only: Annotated[list[str] | None, typer.Option(help="a case's name; repeatable")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="only settings with this back end; repeatable")] = None,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Run the catalogue of cases under every setting and write index.html, results.json, results.csv and junit.xml."""
    from cases import gpu
    from cases.catalogue import CASES, DECLARED, entries
    from harness.engines.vllm.overlays import check_names
    from harness.report.bundle import write_report
    from harness.verification.session import Session, host_of

    timeouts = Timeouts(timeout, start_timeout)
    names = [case.name for case in (*CASES, *gpu.CASES)]
    for name in only or ():
        if name not in names:
            raise UsageError("only", name, f"a case: {', '.join(names)}")
    check_names(setting.overlays)
    host = host_of(serving_python)
    chosen = [
        (case, entry.with_(overlays=setting.overlays))
        for case, entry in entries(host, serving_python)
        if (not only or case.name in only) and (not backend or entry.engine.backend in backend)
    ]
    if not chosen:
        raise UsageError("backend", backend, "no setting of the catalogue has it")
    with Session(reference_python=reference_python, serving_python=serving_python, timeouts=timeouts) as session:
        results = run_all(session, chosen, DECLARED)
    index = write_report(results, out, command=" ".join(["harness", *sys.argv[1:]]))
    if format is options.Format.json:
        json.dump([result.to_dict() for result in results], sys.stdout)
        print()
    else:
        from harness.report.terminal import summary_table

        console = Console()
        console.print(summary_table(results))
        console.print(f"report: {index}")
    interrupted = len(results) < len(chosen)
    raise typer.Exit(130 if interrupted else max(result.verdict.exit_code for result in results))


def run_all(session, chosen, declared) -> list[CaseResult]:
    """Run cases with a progress display on standard error; Ctrl-C ends early and keeps what is done."""
    from harness.verification.verify import verify_all

    results: list[CaseResult] = []
    with progress_bar() as progress:
        task = progress.add_task("starting both sides", total=len(chosen))

        def done(result: CaseResult) -> None:
            results.append(result)
            progress.update(task, advance=1, description=f"{result.verdict:8} {result.case} [{result.setting['label']}]")
            if not progress.console.is_terminal:
                progress.console.print(f"{len(results):3}/{len(chosen)} {result.verdict:8} {result.case} ({result.setting['label']})")

        try:
            verify_all(session, chosen, declared, done)
        except KeyboardInterrupt:
            progress.console.print("interrupted: the report has what was done until now")
    return results
