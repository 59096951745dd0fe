"""Work on several engines at the same time: processes that each have a session of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.util import Finalize
from typing import Any

from harness.drivers import safe_path
from harness.drivers.supervise import die_with
from harness.drivers.timeouts import Timeouts
from harness.verification import gpus
from harness.verification.session import Session

JOBS = min(2, os.cpu_count() or 1)
_session: Session | None = None


def in_parallel(
    work: Callable[..., Any],
    arguments: list[tuple],
    jobs: int,
    serving_python: str,
    reference_python: str,
    timeouts: Timeouts = Timeouts(),
) -> Iterator[Any]:
    """What ``work(session, *arguments)`` returns for each of ``arguments``, as they come.

    Workers take the GPUs in turn. Those of a run that ends early are killed, and their drivers with them.
    """
    safe_path.keep()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    opened = (os.getpid(), context.Value("i", 0), serving_python, reference_python, timeouts)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_open, initargs=opened) as pool:
        waiting = [pool.submit(_call, work, each) for each in arguments]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            workers = list(pool._processes.values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()
            raise


def _open(parent: int, opened: Synchronized, serving_python: str, reference_python: str, timeouts: Timeouts) -> None:
    global _session
    die_with(parent)
    with opened.get_lock():
        worker = opened.value
        opened.value += 1
    gpu = gpus.in_turn(worker, serving_python)
    _session = Session(serving_python=serving_python, reference_python=reference_python, gpu=gpu, timeouts=timeouts)
    Finalize(None, _session.close, exitpriority=10)


def _call(work: Callable[..., Any], arguments: tuple) -> Any:
    return work(_session, *arguments)
