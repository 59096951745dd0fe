"""Work on several engines at the same time: processes that each have a session of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure
from harness.verification import gpus
from harness.verification.session import Session
from harness.verification.workers import Workers

JOBS = min(2, os.cpu_count() or 1)


def in_parallel(
    work: Callable[..., Iterable],
    arguments: list[tuple],
    jobs: int,
    serving_python: str,
    reference_python: str,
    timeouts: Timeouts = Timeouts(),
) -> Generator[tuple[tuple, Any], None, None]:
    """What ``work(session, *arguments)`` yields for each of ``arguments``, as it comes, beside those arguments; a
    DriverFailure if it ended with one or its worker died.

    Workers take the GPUs in turn. Those of a run that ends early are killed, and their drivers with them.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    came: SimpleQueue = SimpleQueue()

    def put(each: tuple, item: Any) -> None:
        came.put((each, item))

    with Workers(jobs, _session, serving_python, reference_python, timeouts) as workers:
        for each in arguments:
            future = workers.submit(work, *each, found=partial(put, each))
            future.add_done_callback(partial(put, each))
        ended = 0
        while ended < len(arguments):
            each, item = came.get()
            if not isinstance(item, Future):
                yield each, item
                continue
            ended += 1
            try:
                item.result()
            except DriverFailure as failure:
                yield each, failure


@contextmanager
def _session(number: int, serving_python: str, reference_python: str, timeouts: Timeouts) -> Iterator[Session]:
    gpu = gpus.in_turn(number, serving_python)
    with Session(
        serving_python=serving_python, reference_python=reference_python, gpu=gpu, timeouts=timeouts
    ) as session:
        yield session
