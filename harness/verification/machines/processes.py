"""Cells in processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from harness.verification.machines.cell import Cell, Found, Here, Lost, Over
from harness.verification.machines.dealer import Dealer
from harness.verification.workers import Worker, Workers


@dataclass(frozen=True)
class Processes:
    """At most ``jobs`` processes; one that dies costs the cell that it was at, and another takes its place."""

    jobs: int

    def run(
        self, cells: Sequence[Cell], enter: Callable[..., AbstractContextManager], *arguments: Any
    ) -> Generator[Found | Over | Lost, None, None]:
        """As `Machines.run`."""
        if not cells:
            return
        came: SimpleQueue[Found | Over] = SimpleQueue()
        dealer = Dealer(cells)
        with Workers(min(self.jobs, len(cells)), enter, *arguments) as workers:
            workers.each(partial(_work_off, dealer, came.put))
            left = len(cells)
            while left:
                told = came.get()
                left -= isinstance(told, Over)
                yield told

    def packed(self, folder: Path) -> Here:
        return Here(folder)

    def named(self, python: str) -> str:
        return python


def _work_off(dealer: Dealer, tell: Callable[[Found | Over], None], worker: Worker) -> None:
    while cell := dealer.next(worker.number):
        failure = None
        try:
            for item in worker.call(cell.work, cell.arguments):
                tell(Found(cell, item))
        except Exception as error:  # noqa: BLE001 - it is told of the cell
            failure = error
        tell(Over(cell, failure))
