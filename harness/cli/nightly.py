"""`harness nightly`: the generated layouts, the catalogue and the mutants, and one summary of them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.campaigns.nightly import READERS, Part, ended
from harness.cli.console import Console
from harness.drivers.process import ROOT
from harness.drivers.supervise import die_with
from harness.errors import UsageError
from harness.report.nightly import write_night

PROFILES = ("dev", "ci", "nightly")
PROPERTIES = {
    "cpu": ["cases", "--ignore", "cases/test_catalogue.py", "-m", "not gpu"],
    "cuda": ["cases/test_gpu.py", "-m", "gpu", "-k", "not gpu_case"],
}
"""The properties of each host. The catalogue is a part of its own; the bugs of cases/history are told of the CPU."""
CATALOGUE = ["cases/test_gpu.py", "-m", "gpu", "-k", "gpu_case"]
"""The catalogue of a GPU."""
MUTANTS = {
    "cpu": [],
    "cuda": ["--model", "31b-shape", "--window", "32", "--backend", "TRITON_ATTN", "--dtype", "bfloat16"],
}
"""Where mutants are hunted: on a GPU the Triton kernel is not right in float32 (docs/findings)."""
WRITTEN = ("tests.xml", "results.json", "kill-matrix.json", "summary.md", "index.html")


def nightly(
    out: Annotated[Path, typer.Option(help="the folder that everything is written to")] = Path("reports/nightly"),
    profile: Annotated[str, typer.Option(help="how many generated layouts: dev, ci or nightly")] = "nightly",
    engines: Annotated[int, typer.Option(help="on a GPU: engines at the same time; several GPUs are taken in turn")] = 1,
    only: Annotated[list[str] | None, typer.Option(help="properties, catalogue or mutants; repeatable")] = None,
) -> None:
    """Run all three parts, each whatever the others came to, and write summary.md, junit.xml and index.html.

    Exit code 0 if all is as it should be, 3 if something gave no answer, otherwise 1.
    """
    from harness.verification.session import host_of

    if profile not in PROFILES:
        raise UsageError("profile", profile, f"one of {', '.join(PROFILES)}")
    for name in only or ():
        if name not in READERS:
            raise UsageError("only", name, f"a part: {', '.join(READERS)}")
    host = host_of(sys.executable)
    out = out.absolute()
    parts = [_run(name, out / name, host, profile, engines) for name in READERS if not only or name in only]
    index = write_night(parts, out, datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
    console = Console()
    for part in parts:
        console.print(f"{part.name}: " + ", ".join(f"{count} {state}" for state, count in part.counts.items()))
    console.print(f"report: {index}")
    raise typer.Exit(max(part.code for part in parts))


def _run(name: str, folder: Path, host: str, profile: str, engines: int) -> Part:
    for file in WRITTEN:
        (folder / file).unlink(missing_ok=True)
    where = os.path.relpath(folder, ROOT)
    many = host == "cuda" and engines > 1
    tested = ["--profile", profile, "--report", where, "--junitxml", f"{where}/tests.xml"]
    tested += ["-n", str(engines), "--dist", "worksteal"] if many else []
    words = {
        "properties": ["pytest", *PROPERTIES[host], *tested],
        "catalogue": ["pytest", *CATALOGUE, *tested] if host == "cuda" else ["harness", "report", "--out", where],
        "mutants": ["harness", "mutants", "--out", where, *MUTANTS[host], *(["--jobs", str(engines)] if many else [])],
    }[name]
    Console(stderr=True).print(shlex.join(words), style="bold")
    start = time.monotonic()
    tied = partial(die_with, os.getpid())
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=False, preexec_fn=tied)
    return ended(name, folder, done.returncode, time.monotonic() - start)
