"""Which cell a worker takes next: one that its engine serves, else one whose engine nobody has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from threading import Lock

from harness.verification.machines.cell import Cell

_NONE = object()
"""The engine of a worker that has none; None is one that cells may have."""


class Dealer:
    """Deals cells to workers, in any thread."""

    def __init__(self, cells: Iterable[Cell]):
        self._cells = list(cells)
        self._held: dict[int, Hashable] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        """How many are not dealt."""
        return len(self._cells)

    def next(self, worker: int) -> Cell | None:
        """The next cell of a worker, if there is one: the first of the engine that it has; else the first of an engine that
        nobody has; else, to help, the first of the engine of which most cells wait for each worker."""
        with self._lock:
            if not self._cells:
                return None
            waiting = Counter(cell.engine for cell in self._cells)
            engine = self._held.pop(worker, _NONE)
            if engine not in waiting:
                holders = Counter(self._held.values())
                free = (one for one in waiting if not holders[one])
                engine = next(free, max(waiting, key=lambda one: waiting[one] / (1 + holders[one])))
            index = next(index for index, cell in enumerate(self._cells) if cell.engine == engine)
            self._held[worker] = engine
            return self._cells.pop(index)

    def back(self, cell: Cell) -> None:
        """A cell that was dealt is to be dealt again, before the others."""
        with self._lock:
            self._cells.insert(0, cell)

    def gone(self, worker: int) -> None:
        """A worker is no more, nor is its engine."""
        with self._lock:
            self._held.pop(worker, None)
