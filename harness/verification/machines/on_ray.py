"""Cells on a Ray cluster: an actor for each worker, which keeps its engine and is dealt one cell after another.

An actor that dies on a node that lives costs the cell that it was at. Where the node is gone its cells are dealt again; a cell that
lost its node `TRIES` times has no answer. Actors are as many as the nodes that live have room for, so that a node that joins
later is used, and one that is lost is not waited for as long as there are others.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from harness.errors import DriverFailure, EnvironmentFailure, FailureKind
from harness.text import one_line
from harness.verification import environments
from harness.verification.machines.actor import Actor, Place
from harness.verification.machines.carried import Carried, archive
from harness.verification.machines.cell import Cell, Found, Lost, Needs, Over
from harness.verification.machines.cluster import Node, Watch
from harness.verification.machines.dealer import Dealer
from harness.verification.machines.side import NODES_OWN
from harness.verification.made_with import source
from harness.verification.workers import LEAVING

TRIES = 3
"""Nodes that a cell may lose: the third loss is more likely its own doing than chance."""
PATIENCE = 600.0
"""Seconds that cells wait for a node that has what they need where none is left; where others use one they wait longer."""
ASKING = 10.0
"""Seconds that actors have to leave when the head is lost; one that is at work hears of it after its next item."""
SETTLING = 5.0
"""Seconds within which the cluster knows that a node has left in order, after the actors on it have, and a node which of its actors
have died."""
HEAD = -1
"""In the place of an actor's number: the head is lost."""
VARIABLES = "HARNESS_"
"""How variables begin that a worker is given as the command has them; all others are the node's own."""


@dataclass
class _Hired:
    """An actor, the node that it is on once that is known, and the cell that it is at."""

    handle: Any
    needs: Needs
    node: Node | None = None
    cell: Cell | None = None

    @property
    def where(self) -> str:
        return self.node.where if self.node else ""


@dataclass(frozen=True)
class OnRay:
    """The cluster that this process is connected to (`cluster.connected`). At most ``jobs`` workers, if that is given;
    ``python`` is the interpreter of the command, in whose place a node has its own."""

    jobs: int | None
    python: str

    def run(
        self, cells: Sequence[Cell], enter: Callable[..., AbstractContextManager], *arguments: Any
    ) -> Generator[Found | Over | Lost, None, None]:
        """As `Machines.run`.

        Raises:
            EnvironmentFailure: no node has what a cell needs, or a node has another harness.
        """
        if not cells:
            return
        run = _Run(self.jobs, cells, partial(_actor, enter, arguments))
        whole = False
        with run.watch:
            try:
                yield from run.told()
                whole = True
            finally:
                run.end(now=not whole)

    def packed(self, folder: Path) -> Carried:
        import ray

        return Carried(ray.put(archive(folder)), str(folder))

    def named(self, python: str) -> str:
        return NODES_OWN if python == self.python else environments.words(python)


def _actor(enter: Callable[..., AbstractContextManager], arguments: tuple, needs: Needs) -> Any:
    import ray

    kind = {"accelerator_type": needs.gpu} if needs.gpu else {}
    taken: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": needs.memory or None}
    if variables := {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}:
        taken["runtime_env"] = {"env_vars": variables}
    return ray.remote(Actor).options(**taken, **kind, max_restarts=0).remote(enter, arguments)


class _Run:
    """The actors and cells of one run."""

    def __init__(self, jobs: int | None, cells: Sequence[Cell], hire: Callable[[Needs], Any]):
        self._jobs = jobs
        self._left = len(cells)
        self._hire = hire
        self._source = source()
        self._numbers = count()
        self._hired: dict[int, _Hired] = {}
        self._leaving: dict[int, tuple[Any, Any | None]] = {}
        self._losses: Counter[int] = Counter()
        """How many nodes each cell has lost, by its identity: what it is given may have no hash."""
        self._unborn = 0
        self._came: SimpleQueue[tuple[int, Future]] = SimpleQueue()
        self.watch = Watch(lambda: self._came.put((HEAD, Future())))
        every = dict.fromkeys(cell.needs for cell in cells)
        self._dealers = {needs: Dealer(cell for cell in cells if cell.needs == needs) for needs in every}

    def told(self) -> Generator[Found | Over | Lost, None, None]:
        there = self._nodes
        for needs in self._dealers:
            if not any(node.room(needs) for node in there):
                have = "; ".join(node.where for node in there if node.alive)
                raise EnvironmentFailure(f"--ray: no node of the cluster has what a cell needs, {needs}: {have}")
        while self._left:
            self._hire_more()
            try:
                number, answer = self._came.get(timeout=None if self._working else PATIENCE)
            except Empty:
                if any(node.room(needs) for node in self._nodes for needs in self._dealers):
                    continue  # others use it
                yield from self._given_up()
                return
            if number == HEAD:
                raise EnvironmentFailure(f"--ray: the cluster's head at {self.watch.head} is lost")
            for one in self._heard(number, answer):
                self._left -= isinstance(one, Over)
                yield one

    @property
    def _nodes(self) -> list[Node]:
        return list(self.watch.nodes.values())

    @property
    def _working(self) -> bool:
        return any(one.node for one in self._hired.values())

    def _hire_more(self) -> None:
        """An actor for each cell that waits, as far as there is room, and one in any case."""
        if not any(len(dealer) for dealer in self._dealers.values()):
            return
        there = self._nodes
        for needs, dealer in self._dealers.items():
            free = sum(one.needs == needs and one.cell is None for one in self._hired.values())
            room = max(1, sum(node.room(needs) for node in there))
            mine = sum(one.needs == needs for one in self._hired.values())
            most = len(self._hired) + len(dealer) if self._jobs is None else self._jobs
            for _ in range(min(len(dealer) - free, room - mine, most - len(self._hired))):
                number = next(self._numbers)
                self._hired[number] = _Hired(self._hire(needs), needs)
                self._ask(number, "place")

    def _ask(self, number: int, method: str, *arguments: Any) -> None:
        reference = getattr(self._hired[number].handle, method).remote(*arguments)
        reference.future().add_done_callback(lambda future: self._came.put((number, future)))

    def _heard(self, number: int, answer: Future) -> Generator[Found | Over | Lost, None, None]:
        if number in self._leaving:
            _killed(self._leaving.pop(number)[0])
            return
        one = self._hired[number]
        if error := answer.exception():
            yield from self._died(number, error)
            return
        said = answer.result()
        if isinstance(said, Place):
            one.node, self._unborn = self.watch.node(said.node), 0
            if said.source != self._source:
                raise EnvironmentFailure(
                    f"--ray: {one.where} has another harness than this command ({said.python}); install the same one there"
                )
            self._deal(number)
            return
        assert one.cell is not None
        word, item = said
        if word == "found":
            self._ask(number, "more")
            yield Found(one.cell, item, one.where)
            return
        yield Over(one.cell, item, one.where)
        one.cell = None
        if word == "left":
            self._dismiss(number)
        else:
            self._deal(number)

    def _deal(self, number: int) -> None:
        one = self._hired[number]
        one.cell = self._dealers[one.needs].next(number)
        if one.cell:
            self._ask(number, "do", one.cell.work, one.cell.arguments)
        else:
            self._dismiss(number)

    def _dismiss(self, number: int) -> None:
        """Have an actor end what it entered, and make room for others; one that has no node yet has entered nothing."""
        one = self._hired.pop(number)
        self._dealers[one.needs].gone(number)
        if one.node is None:
            self._leaving[number] = one.handle, None
            return
        leave = one.handle.leave.remote()
        self._leaving[number] = one.handle, leave
        leave.future().add_done_callback(lambda future: self._came.put((number, future)))

    def _died(self, number: int, error: BaseException) -> Generator[Over | Lost, None, None]:
        import ray

        one = self._hired.pop(number)
        self._dealers[one.needs].gone(number)
        self._unborn += one.node is None
        if one.node is None and (self._unborn >= TRIES or not isinstance(error, ray.exceptions.RayActorError)):
            raise EnvironmentFailure(f"--ray: a worker cannot be started: {one_line(error)}")
        if one.cell is None:
            _killed(one.handle)
            return
        gone = _unreachable(one.handle, error) or self._is_gone(one.node)
        _killed(one.handle)
        self._losses[id(one.cell)] += gone
        if gone and self._losses[id(one.cell)] < TRIES:
            self._dealers[one.needs].back(one.cell)
            yield Lost(one.cell, one.where)
            return
        why = f"{TRIES} nodes were lost under it" if gone else f"the worker process died ({_cause(error)})"
        yield Over(one.cell, DriverFailure(why, stage="worker", kind=FailureKind.GONE), one.where)

    def _is_gone(self, node: Node | None) -> bool:
        end = time.monotonic() + SETTLING
        while node and self.watch.node(node.id).alive:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def _given_up(self) -> Generator[Over, None, None]:
        for needs, dealer in self._dealers.items():
            why = f"no node of the cluster had room for {needs} within {PATIENCE:.0f} s"
            while cell := dealer.next(-1):
                yield Over(cell, DriverFailure(why, stage="worker", kind=FailureKind.TIMEOUT))

    def end(self, *, now: bool) -> None:
        """Wait until the actors have left, or end them."""
        import ray

        for number in list(self._hired):
            self._dismiss(number)
        left = [left for _, left in self._leaving.values() if left is not None]
        if left and (self.watch.gone or not now):
            ray.wait(left, num_returns=len(left), timeout=ASKING if now else LEAVING)
        if self.watch.gone:
            return  # the head is who would end them; their nodes end them when they have missed it for a minute
        for handle, _ in self._leaving.values():
            _killed(handle)


def _unreachable(handle: Any, error: BaseException) -> bool:
    """Whether nobody can say what became of an actor whose connection broke: a node that lives says that one of its own has died,
    if not always at once."""
    import ray

    end = time.monotonic() + SETTLING
    while isinstance(error, ray.exceptions.ActorUnavailableError) and time.monotonic() < end:
        try:
            ray.get(handle.place.remote(), timeout=1)
        except ray.exceptions.RayActorError as known:
            error = known
        except ray.exceptions.GetTimeoutError:
            continue
        time.sleep(0.2)
    return isinstance(error, ray.exceptions.ActorUnavailableError)


def _killed(handle: Any) -> None:
    import ray

    with suppress(Exception):  # it is gone already, or its node is
        ray.kill(handle)


def _cause(error: BaseException) -> str:
    """What Ray says of the end of a process, in one line."""
    text = str(error)
    said = text.rpartition("Worker exit detail:")[2] or text
    return one_line(said.partition(" Some common causes")[0], 200)
