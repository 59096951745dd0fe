"""What runs on a node of the cluster: one process that enters once, and does one cell after another.

It knows nothing of Ray but the place that it is asked for, so that a node needs no more than the harness and Ray.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from harness.verification.machines import carried
from harness.verification.made_with import source
from harness.verification.workers import sendable

WATCH = 0.2
"""Seconds between two looks at the raylet."""


@dataclass(frozen=True)
class Place:
    """The node that an actor is on, by Ray's id; its process; and the harness that it has there."""

    node: str
    pid: int
    source: str
    python: str


class Actor:
    """Answers are pairs of a word and what belongs to it: "found" an item, "done", "failed" with what the work raised, "left"
    with what entering raised."""

    def __init__(self, enter: Callable[..., AbstractContextManager], arguments: tuple):
        self._enter = (enter, arguments)
        self._entered: tuple[Any] | None = None
        self._opened = ExitStack()
        self._items: Iterator = iter(())
        threading.Thread(target=_end_with, args=(os.getppid(),), name="raylet", daemon=True).start()

    def place(self) -> Place:
        import ray

        return Place(ray.get_runtime_context().get_node_id(), os.getpid(), source(), sys.executable)

    def do(self, work: Callable[..., Iterable], arguments: tuple) -> tuple[str, Any]:
        """Begin a cell; its first answer."""
        try:
            if self._entered is None:
                enter, given = self._enter
                self._entered = (self._opened.enter_context(enter(0, *given)),)
        except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
            return "left", sendable(error)
        self._items = iter(work(self._entered[0], *arguments))
        return self.more()

    def more(self) -> tuple[str, Any]:
        """The next answer of the cell that was begun."""
        try:
            return "found", next(self._items)
        except StopIteration:
            return "done", None
        except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
            return "failed", sendable(error)

    def leave(self) -> None:
        """End all that was entered."""
        self._opened.close()
        carried.forget()


def _end_with(raylet: int) -> None:
    """End this process, and so the engines that it has started, when the node's ``raylet``, which started it, has ended.

    Ray itself looks whether there is such a process. One that has ended is there until somebody asks for its exit code, which
    in many containers nobody does: an actor would then stay as long as the machine, with its engines.
    """
    while os.getppid() == raylet:
        time.sleep(WATCH)
    os.kill(os.getpid(), signal.SIGKILL)
