"""`harness nightly`: the generated layouts, the catalogue and the mutants, and one summary of them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.campaigns.nightly import READERS, Part, ended
from harness.cli import options
from harness.cli.finish import finishing
from harness.cli.machines import NeedsOption, RayOption, check
from harness.console import Console
from harness.drivers import safe_path
from harness.drivers.process import ROOT
from harness.drivers.signals import Ended, unheeded
from harness.drivers.supervise import die_with
from harness.drivers.timeouts import Timeouts
from harness.errors import UsageError
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.report.nightly import write_nightly
from harness.verification.catalogue import HERE, declared

PROFILES = ("dev", "ci", "nightly")
GENERATED = "properties"
"""The part whose layouts are generated, as many as a profile says."""
PROPERTIES = {
    "cpu": ["cases", "--ignore", "cases/test_catalogue.py", "-m", "not gpu"],
    "cuda": ["cases/test_gpu.py", "-m", "gpu", "-k", "not gpu_case"],
}
"""The properties of each platform. The catalogue is a part of its own; the bugs of cases/history are told of the CPU."""
CATALOGUE = ["cases/test_gpu.py", "-m", "gpu", "-k", "gpu_case"]
"""The catalogue of a GPU."""
MUTANTS = {
    "cpu": [],
    "cuda": ["--model", "31b-shape", "--window", "32", "--backend", "TRITON_ATTN", "--dtype", "bfloat16"],
}
"""Where mutants are searched for: on a GPU the Triton kernel is not right in float32 (docs/findings)."""
PATIENCE = 120.0
"""Seconds that a part which was asked to end has for its report."""
WRITTEN = ("tests.xml", "results.json", "mutation-matrix.json", "summary.md", "index.html")


def nightly(
    out: Annotated[
        Path | None,
        typer.Option(help="the folder that everything is written to; by default reports/nightly, -part with --only"),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="how many generated layouts of properties: dev, ci or nightly, which it is by default"),
    ] = None,
    engines: Annotated[
        int, typer.Option(help="on a GPU: engines at the same time; several GPUs are taken in turn")
    ] = 1,
    ray: RayOption = None,
    needs: NeedsOption = None,
    known: options.KnownOption = None,
    only: Annotated[list[str] | None, typer.Option(help="properties, catalogue or mutants; repeatable")] = None,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
) -> None:
    """Run all three parts, each whatever the others came to, and write summary.md, junit.xml and index.html. With --ray they run on
    a cluster, one part after the other.

    Exit code 0 if all is as it should be, 3 if something gave no answer, otherwise 1.
    """
    from harness.verification.interpreters import platform_of

    if profile not in (None, *PROFILES):
        raise UsageError("profile", profile, f"one of {', '.join(PROFILES)}")
    for name in only or ():
        if name not in READERS:
            raise UsageError("only", name, f"a part: {', '.join(READERS)}")
    if profile and only and GENERATED not in only:
        why = f"it means nothing beside --only {' and '.join(only)}, which generate no layouts by it; leave it out"
        raise UsageError("profile", profile, why)
    if ray is not None and engines > 1:
        raise UsageError("engines", engines, "1 with --ray: each node has as many as it has room for, see --needs")
    check(ray, needs)
    declared(known or [])  # so that a file that is no good is told of before anything is run
    timeouts = Timeouts(timeout, start_timeout)
    platform = platform_of(sys.executable)
    if platform == "cpu" and engines > 1:
        raise UsageError("engines", engines, "1: on a CPU each part has the engines of its own command")
    names = [name for name in READERS if not only or name in only]
    out = options.folder(out, "reports/nightly", whole=len(names) == len(READERS)).absolute()
    cluster = {option: value for option, value in (("ray", ray), ("needs", needs)) if value}
    done: list[Part] = []
    console = Console()

    def extent(why: str) -> Extent:
        chosen = (
            f"only {' and '.join(names)} {'was' if len(names) == 1 else 'were'} asked for"
            if len(names) < len(READERS)
            else ""
        )
        return Extent(len(done), len(names), "parts begun", why, chosen)

    def say(why: str) -> None:
        for part in done:
            console.print(f"{part.name}: " + ", ".join(f"{count} {state}" for state, count in part.counts.items()))
        if sentence := extent(why).sentence:
            console.print(f"this is a part: {sentence}")

    def write(why: str) -> None:
        generated = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        console.print(f"report: {write_nightly(done, out, generated, extent(why).sentence)}")

    with claimed("out", out), finishing(say, write):
        for name in names:
            _run(name, out / name, platform, profile or PROFILES[-1], engines, timeouts, known or [], cluster, done)
    raise typer.Exit(max(part.code for part in done))


def _run(
    name: str,
    folder: Path,
    platform: str,
    profile: str,
    engines: int,
    timeouts: Timeouts,
    known: list[str],
    cluster: dict[str, str],
    done: list[Part],
) -> None:
    """Run a part and add it to those that are ``done``, also if it was ended early."""
    for file in WRITTEN:
        (folder / file).unlink(missing_ok=True)
    where = os.path.relpath(folder, ROOT)
    many = platform == "cuda" and engines > 1 and not cluster
    start, case = ["--harness-start-timeout", str(timeouts.start)], str(timeouts.case)
    limits = ["--start-timeout", str(timeouts.start), "--timeout", case]
    tested = ["--harness-profile", profile, "--harness-report", where, "--junitxml", f"{where}/tests.xml", *start]
    tested += ["--harness-case-timeout", case]
    told = [os.path.abspath(one) if one != HERE else one for one in known]
    tested += [word for one in told for word in ("--harness-known", one)]
    limits += [word for one in told for word in ("--known", one)]
    tested += ["-n", str(engines), "--dist", "worksteal"] if many else []
    tested += [word for option, value in cluster.items() for word in (f"--harness-{option}", value)]
    places = [word for option, value in cluster.items() for word in (f"--{option}", value)]
    words = {
        "properties": ["pytest", *PROPERTIES[platform], *tested],
        "catalogue": ["pytest", *CATALOGUE, *tested]
        if platform == "cuda"
        else ["harness", "report", "--out", where, *limits, *places],
        "mutants": [
            "harness",
            "mutants",
            "--out",
            where,
            *MUTANTS[platform],
            *limits,
            *(places or (["--jobs", str(engines)] if many else [])),
        ],
    }[name]
    Console(stderr=True).print(shlex.join(words), style="bold")
    begun = time.monotonic()
    process = _started(words)
    try:
        _wait(process)
    finally:
        done.append(ended(name, folder, process.returncode, time.monotonic() - begun))


def _started(words: list[str]) -> subprocess.Popen:
    """A module that runs in a session of its own, so that a signal reaches it once, from here, and that ends with this process."""
    command = [sys.executable, "-m", *words]
    env = {**os.environ, **safe_path.environment([str(ROOT)])}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, start_new_session=True, preexec_fn=partial(die_with, os.getpid())
    )


def _wait(process: subprocess.Popen) -> None:
    """Wait for its end. A signal that ends this process is handed on, and it has `PATIENCE` to make its report."""
    try:
        process.wait()
    except Ended as asked:
        with unheeded():
            process.send_signal(asked.number)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        raise
