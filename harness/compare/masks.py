"""Observed against observed: where two masks of one layer differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.prompts.layout import Layout


@dataclass(frozen=True)
class Difference:
    """The masks of one layer, boolean (KV head groups, N, N) each.

    ``group`` is the KV head group that differs most (0 if none does); pairs are counted in it.
    """

    reference: np.ndarray
    serving: np.ndarray

    def __post_init__(self) -> None:
        if self.reference.shape != self.serving.shape:
            raise ValueError(
                f"the reference has {self.reference.shape[0]} KV head groups of {self.reference.shape[1]} tokens, "
                f"serving {self.serving.shape[0]} of {self.serving.shape[1]}"
            )

    @classmethod
    def of(cls, reference: np.ndarray, serving: np.ndarray, unpack: Callable[[np.ndarray], np.ndarray]) -> Difference:
        """From bit-packed masks (KV head groups, N, bytes); where all groups of both sides agree one is kept. Where there are more
        ranks than KV heads each has a copy of one: copies that differ are each compared with the group that they are of."""
        if copies := _copies(len(serving), len(reference)):
            reference = np.repeat(reference, copies, axis=0)
        elif copies := _copies(len(reference), len(serving)):
            serving = np.repeat(serving, copies, axis=0)
        if reference.shape == serving.shape and all(map(_agree, (reference, serving))):
            reference, serving = reference[:1], serving[:1]
        equal = np.array_equal(reference, serving)
        theirs = unpack(reference)
        return cls(theirs, theirs if equal else unpack(serving))

    @cached_property
    def equal(self) -> bool:
        return self.reference is self.serving or np.array_equal(self.reference, self.serving)

    @cached_property
    def group(self) -> int:
        return 0 if self.equal else int((self.reference != self.serving).sum(axis=(1, 2)).argmax())

    @property
    def groups_that_differ(self) -> list[int]:
        return np.flatnonzero((self.reference != self.serving).any(axis=(1, 2))).tolist()

    @cached_property
    def missing(self) -> np.ndarray:
        """Pairs that only the reference lets through, (N, N)."""
        return self.reference[self.group] & ~self.serving[self.group]

    @cached_property
    def extra(self) -> np.ndarray:
        """Pairs that only serving lets through, (N, N)."""
        return self.serving[self.group] & ~self.reference[self.group]

    @property
    def counts(self) -> tuple[int, int]:
        """How many pairs are missing and extra."""
        return (0, 0) if self.equal else (int(self.missing.sum()), int(self.extra.sum()))

    def first(self, layout: Layout) -> dict | None:
        """The first differing pair by query, then key, in token terms."""
        if self.equal:
            return None
        query, key = map(int, np.argwhere(self.missing | self.extra)[0])
        kind = "missing" if self.missing[query, key] else "extra"
        names = [token.name for token in layout.tokens]
        who = (
            "the reference attends, serving does not"
            if kind == "missing"
            else "serving attends, the reference does not"
        )
        text = f"query {query} = {names[query]}, key {key} = {names[key]}: {who}"
        return {"query": query, "key": key, "kind": kind, "kv_head_group": self.group, "text": text}


def _copies(groups: int, heads: int) -> int:
    """How many groups there are of each head, if there are more than one."""
    return groups // heads if groups > heads and groups % heads == 0 else 0


def _agree(side: np.ndarray) -> bool:
    """All groups have one mask; of a broadcast one there is only one anyway."""
    return side.strides[0] == 0 or bool((side == side[:1]).all())
