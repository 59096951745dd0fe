"""Whose rows a step's batch holds, and of which positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

Owners = list[tuple[str, torch.Tensor]]
"""Requests and the positions of their rows, in the order of the rows."""


@dataclass(frozen=True)
class Rows:
    """The rows of one request in a step's batch: ``index`` into the batch and the ``positions`` of its tokens;
    ``place`` is the request's place in the batch."""

    name: str
    place: int
    index: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """The observed rows of one step, request by request in the order of the batch. ``index`` is where all of them are in the
    batch, on the device that computes it."""

    requests: tuple[Rows, ...]
    index: torch.Tensor

    @classmethod
    def of(
        cls, names: Sequence[str | None], bounds: Sequence[int], positions: torch.Tensor, tokens: Mapping[str, int]
    ) -> Batch:
        """The rows of the requests ``names``, None for one that is not observed. Request i has the rows ``bounds[i]`` up to
        ``bounds[i + 1]``; ``positions`` (rows,) are those of all rows. Of each request its first ``tokens`` are observed."""
        on_host = positions.cpu()
        found = []
        for place, name in enumerate(names):
            if name is None:
                continue
            index = torch.arange(bounds[place], bounds[place + 1])
            index = index[on_host[index] < tokens[name]]
            if len(index):
                found.append(Rows(name, place, index, on_host[index]))
        return cls(tuple(found), _joined(found).to(positions.device))

    def __len__(self) -> int:
        """How many requests have rows."""
        return len(self.requests)

    @cached_property
    def owners(self) -> Owners:
        return [(rows.name, rows.positions) for rows in self.requests]

    def only(self, names: set[str]) -> Batch:
        """The rows of these requests alone; itself where that is all of them."""
        kept = [rows for rows in self.requests if rows.name in names]
        return self if len(kept) == len(self) else Batch(tuple(kept), _joined(kept).to(self.index.device))

    def at(self, positions: Mapping[str, torch.Tensor]) -> Batch:
        """The rows at these ``positions`` of each request."""
        kept = []
        for rows in self.requests:
            some = torch.isin(rows.positions, positions[rows.name])
            if some.any():
                kept.append(Rows(rows.name, rows.place, rows.index[some], rows.positions[some]))
        return Batch(tuple(kept), _joined(kept).to(self.index.device))

    def whole(self, tokens: Mapping[str, int]) -> bool:
        """Whether this step computes all ``tokens`` of each of the requests."""
        return all(len(rows.positions) == tokens[rows.name] for rows in self.requests)


def _joined(requests: Sequence[Rows]) -> torch.Tensor:
    return torch.cat([rows.index for rows in requests]) if requests else torch.empty(0, dtype=torch.long)
