"""Where the cells of a command run: `--ray`, `--needs` and `--jobs`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Annotated

import typer

from harness.console import Console
from harness.errors import EnvironmentFailure, UsageError
from harness.verification.machines import Lost, Machines, Needs, Processes
from harness.verification.machines.cluster import LOCAL, connected

_ADDRESS = re.compile(r"[A-Za-z0-9_.\-\[\]:]+:[0-9]{1,5}")
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="run on a Ray cluster (docs/scaling.md): auto for the one that this node is of, HOST:PORT, or local for one of this "
        "machine alone",
    ),
]
NeedsOption = Annotated[
    str | None,
    typer.Option(
        "--needs", help="with --ray: what each engine takes of a node, as cpus=4 gpus=1 gpu=H100 memory=32 (GiB)"
    ),
]
JobsOption = Annotated[
    int | None, typer.Option(help="engines at the same time; with --ray by default as many as the nodes have room for")
]


def check(ray: str | None, needs: str | None) -> None:
    """Say what is wrong with `--ray` and `--needs` before anything is made or started.

    Raises:
        UsageError: one is not of its form, or needs are given without a cluster.
        EnvironmentFailure: Ray is not installed here.
    """
    if needs is not None:
        if ray is None:
            raise UsageError("needs", needs, "with --ray alone: the processes of one machine share it")
        Needs.parse(needs)
    if ray is not None and ray not in (LOCAL, "auto") and not _ADDRESS.fullmatch(ray):
        raise UsageError(
            "ray", ray, f"{LOCAL}, auto or HOST:PORT, on a node of the cluster (`ray job submit` runs it there)"
        )
    if ray is not None and find_spec("ray") is None:
        raise EnvironmentFailure("--ray needs Ray, which is not installed here: pip install -e .[cluster]")


def needed(needs: str | None, gpus: int) -> Needs:
    """What each worker takes: what is asked for, or one CPU and so many ``gpus``."""
    return Needs(gpus=gpus) if needs is None else Needs.parse(needs, gpus)


@contextmanager
def machines(ray: str | None, jobs: int | None, usual: int) -> Iterator[Machines]:
    """What runs cells: processes of this machine, ``jobs`` or the ``usual`` number of them, or a cluster.

    Raises:
        EnvironmentFailure: there is no cluster at that address.
    """
    if ray is None:
        yield Processes(usual if jobs is None else jobs)
        return
    from harness.verification.machines.on_ray import OnRay

    with connected(ray):
        yield OnRay(jobs, sys.executable)


def told(lost: Lost, console: Console) -> dict[str, str]:
    """Say that a cell was lost with its node; the same as data, for the report."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    console.print(f"lost with its node, run again: {lost.cell.name}, on {lost.where}")
    return {"cell": lost.cell.name, "node": lost.where, "at": now}
