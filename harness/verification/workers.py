"""Processes that each do one piece of work after another; one that dies costs the piece that it was at, and no other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from harness.drivers import safe_path
from harness.drivers.supervise import die_with
from harness.errors import DriverFailure, FailureKind

LEAVING = 60.0
"""Seconds that a worker without work has to leave; it ends drivers then."""
_processes = multiprocessing.get_context("spawn")


class Workers:
    """``count`` processes, each started with its first piece of work. As a context manager: they leave in the end, and are
    killed where the body raises.

    Each enters ``enter(number, *arguments)``, its number being below ``count``, and does its work with what that yields. All
    that is sent to a worker and back can be pickled. Every worker has a thread here and a pipe of its own, so that none
    shares anything that another could take with it.
    """

    def __init__(self, count: int, enter: Callable[..., AbstractContextManager], *arguments: Any):
        safe_path.keep()
        self._enter = (enter, arguments)
        self._numbers = iter(range(count))
        self._own = threading.local()
        self._workers: list[Worker] = []
        self._count = count
        self._ended = False
        self._threads = ThreadPoolExecutor(count, initializer=self._open)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """The threads end last: a process may be bound to the life of the thread that started it."""
        self._ended = True
        for worker in self._workers:
            worker.leave(now=kind is not None)
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(cancel_futures=True)

    def submit(
        self, work: Callable[..., Iterable], *arguments: Any, found: Callable[[Any], None] = lambda item: None
    ) -> Future:
        """Have ``work(entered, *arguments)`` done; ``found`` is called with each item that it yields, in a thread.

        The future's result is the last item. It raises what the work raised, or DriverFailure where the worker died.
        """
        return self._threads.submit(self._do, work, arguments, found)

    def each(self, turn: Callable[[Worker], None]) -> None:
        """Have ``turn`` called with every worker, each in its own thread."""
        for _ in range(self._count):
            self._threads.submit(lambda: turn(self._own.worker))

    def _open(self) -> None:
        self._own.worker = Worker(next(self._numbers), *self._enter)
        self._workers.append(self._own.worker)

    def _do(self, work: Callable[..., Iterable], arguments: tuple, found: Callable[[Any], None]) -> Any:
        if self._ended:
            raise CancelledError
        item = None
        for item in self._own.worker.call(work, arguments):
            found(item)
        return item


class Worker:
    """One process; another takes its place when it has died."""

    def __init__(self, number: int, enter: Callable[..., AbstractContextManager], arguments: tuple):
        self.number = number
        self._how = (enter, (number, *arguments))
        self._starting = threading.Lock()
        self._leaving = False
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def call(self, work: Callable[..., Iterable], arguments: tuple) -> Iterator[Any]:
        """What ``work(entered, *arguments)`` yields; raises as the future of `Workers.submit` does."""
        try:
            answer = self._begun((work, arguments))
            while answer[0] in ("begun", "found"):
                if answer[0] == "found":
                    yield answer[1]
                answer = self._started[1].recv()
        except (EOFError, ConnectionError):
            raise DriverFailure(
                f"the worker process died ({self._end()})", stage="worker", kind=FailureKind.GONE
            ) from None
        if answer[0] == "left":
            self._started[0].join()
        if answer[0] != "done":
            raise answer[1]

    def _begun(self, asked: tuple) -> tuple:
        """The process's first answer; another process is asked where this one died while it had nothing to do."""
        if self._process is not None and self._process.is_alive():
            process, pipe = self._started
            try:
                pipe.send(asked)
                return pipe.recv()
            except (EOFError, ConnectionError):
                process.kill()
                process.join()
        self._start()
        _, pipe = self._started
        pipe.send(asked)
        return pipe.recv()

    @property
    def _started(self) -> tuple[BaseProcess, Connection]:
        """The process and the pipe to it."""
        assert self._process is not None and self._pipe is not None
        return self._process, self._pipe

    def leave(self, *, now: bool) -> None:
        """Ask the process to leave, or kill it."""
        with self._starting:
            self._leaving = True
            if self._process is None:
                return
            process, pipe = self._started
            if now:
                process.kill()
            else:
                pipe.close()

    def end(self) -> None:
        """Wait until the process has left; after `LEAVING` it is killed."""
        if self._process is not None:
            self._process.join(LEAVING)
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        with self._starting:
            if self._leaving:
                raise CancelledError
            if self._pipe is not None:
                self._pipe.close()
            self._pipe, theirs = _processes.Pipe()
            process = _processes.Process(target=_work, args=(theirs, os.getpid(), *self._how))
            process.start()
            theirs.close()
            self._process = process

    def _end(self) -> str:
        process, _ = self._started
        process.join(5)
        code = process.exitcode
        if code is None:
            return "its pipe is closed"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _work(pipe: Connection, parent: int, enter: Callable[..., AbstractContextManager], arguments: tuple) -> None:
    """The life of a worker. Ctrl-C and a closed terminal are for the process that started it, and it ends with that one."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_with(parent)
    try:
        with enter(*arguments) as entered:
            while (asked := _received(pipe)) is not None:
                _answer(pipe, entered, *asked)
    except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
        pipe.send(("left", sendable(error)))


def _received(pipe: Connection) -> tuple | None:
    try:
        return pipe.recv()
    except EOFError:
        return None


def _answer(pipe: Connection, entered: Any, work: Callable[..., Iterable], arguments: tuple) -> None:
    pipe.send(("begun", None))
    try:
        for item in work(entered, *arguments):
            pipe.send(("found", item))
    except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
        pipe.send(("failed", sendable(error)))
    else:
        pipe.send(("done", None))


def sendable(error: Exception) -> Exception:
    """The error with its traceback as a note, or one of the same words where it cannot be pickled."""
    said = traceback.format_exc()
    error.add_note(said)
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes
    except Exception:  # noqa: BLE001 - whatever an exception's own methods raise
        return RuntimeError(said)
    return error
