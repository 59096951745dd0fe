"""Work on several engines at the same time: workers that each have a session of their own."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure
from harness.verification import gpus
from harness.verification.machines import Cell, Found, Lost, Machines, Over
from harness.verification.machines.side import Side
from harness.verification.session import Session

JOBS = min(2, os.cpu_count() or 1)


def in_parallel(
    machines: Machines,
    cells: Sequence[Cell],
    serving_python: str,
    reference_python: str,
    timeouts: Timeouts = Timeouts(),
    further: Sequence[str] = (),
) -> Generator[Found | Over | Lost, None, None]:
    """What becomes of ``cells``, whose work is given a session; of those that are over the failure is a DriverFailure.

    Workers take the GPUs in turn. Those of a run that ends early are killed, and their drivers with them.

    Raises:
        EnvironmentFailure: a machine has no such interpreters, or others than this one.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sides = [Side.of(serving_python, "serving", machines), Side.of(reference_python, "reference", machines)]
    beside = [Side.of(python, "reference", machines) for python in further]
    for told in machines.run(cells, _session, *sides, timeouts, beside):
        if isinstance(told, Over) and told.failure and not isinstance(told.failure, DriverFailure):
            raise told.failure
        yield told


@contextmanager
def _session(
    number: int, serving: Side, reference: Side, timeouts: Timeouts, further: Sequence[Side]
) -> Iterator[Session]:
    serving_python, reference_python = serving.python(), reference.python()
    gpu = gpus.in_turn(number, serving_python)
    with Session(
        serving_python=serving_python,
        reference_python=reference_python,
        gpu=gpu,
        timeouts=timeouts,
        further=[side.python() for side in further],
    ) as session:
        yield session
