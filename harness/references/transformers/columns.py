"""Which position each column of a cache holds, whatever kind of cache it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

BASE = 128
"""Positions are written as two digits, so that every dtype of a cache holds them exactly: below 32,768."""


@dataclass
class Columns:
    """Follows the updates of caches on copies that hold positions instead of keys: a cache keeps, rolls and cuts them as it does
    keys."""

    _copies: dict[int, Any] = field(default_factory=dict)
    _written: dict[tuple[int, int], int] = field(default_factory=dict)
    _latest: dict[tuple, torch.Tensor] = field(default_factory=dict)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """While this lasts every cache is followed that has nothing in it yet."""
        from transformers.cache_utils import Cache

        original = Cache.update

        def update(cache: Any, keys: torch.Tensor, values: torch.Tensor, layer: int, *args: Any, **kwargs: Any) -> Any:
            if id(cache) not in self._copies:
                self._copies[id(cache)] = copy.deepcopy(cache)
            answer = original(cache, keys, values, layer, *args, **kwargs)
            start = self._written.get((id(cache), layer), 0)
            positions = torch.arange(start, start + keys.shape[-2], device=keys.device)
            self._written[id(cache), layer] = start + keys.shape[-2]
            coded = _coded(positions, keys)
            held, _ = original(self._copies[id(cache)], coded, coded.clone(), layer, *args, **kwargs)
            self._latest[_key(answer[0])] = _decoded(held)
            return answer

        Cache.update = update
        try:
            yield
        finally:
            Cache.update = original

    def of(self, keys: torch.Tensor) -> torch.Tensor:
        """The position (columns,) of each column of keys that an update gave, -1 where nothing was written: layers that share keys
        are given those of another one."""
        return self._latest[_key(keys)]


def _key(keys: torch.Tensor) -> tuple:
    return keys.data_ptr(), tuple(keys.shape)


def _coded(positions: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Positions counted from 1, in the first two channels of what has the shape of ``keys`` (prompts, heads, tokens, channels)."""
    coded = torch.zeros_like(keys)
    coded[..., 0] = ((positions + 1) // BASE).to(keys.dtype)
    coded[..., 1] = ((positions + 1) % BASE).to(keys.dtype)
    return coded


def _decoded(held: torch.Tensor) -> torch.Tensor:
    digits = held[0, 0].float()
    return (digits[:, 0] * BASE + digits[:, 1]).long() - 1
