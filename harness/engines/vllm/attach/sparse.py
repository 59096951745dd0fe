"""Probing where the KV cache takes most of the memory: a shadow of the blocks of the observed requests, and of no others.

Real blocks have places in it, which block tables and slots are translated to. Place 0 is that of the null block; what belongs to
requests that are not observed all goes to place 1, which nobody looks at.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from harness.engines.vllm.observer.probing import Call, Prober, Shadow

OTHERS = 1
"""The place of all blocks that are not observed."""
FIRST = 64
"""Places of a new shadow, which grows by doubling."""


class Places:
    """The places of the blocks of one KV cache, which has ``count`` of ``size`` tokens each in its dimension ``dim``."""

    def __init__(self, count: int, size: int, dim: int, device: torch.device) -> None:
        self.count, self.size, self.dim = count, size, dim
        self.capacity = min(FIRST, count + 1)
        self._taken = OTHERS
        self._of = torch.full((count,), OTHERS, dtype=torch.long, device=device)
        self._of[0] = 0

    def take(self, blocks: torch.Tensor) -> None:
        """Give a place to each of these blocks that has none."""
        wanted = blocks.unique()
        new = wanted[self._of[wanted] == OTHERS]
        if len(new):
            self._of[new] = torch.arange(self._taken + 1, self._taken + 1 + len(new), device=new.device)
            self._taken += len(new)
        while self._taken >= self.capacity:
            self.capacity *= 2

    def of_table(self, table: torch.Tensor) -> torch.Tensor:
        """A block table (requests, blocks) of places. Behind a request's last block it may hold anything."""
        return self._of[table.long().clamp(0, self.count - 1)].to(table.dtype)

    def of_slots(self, slots: torch.Tensor) -> torch.Tensor:
        """Slots (tokens,) in the shadow; negative ones, which are padding, stay."""
        real = slots.clamp(min=0).long()
        there = self._of[real // self.size] * self.size + real % self.size
        return torch.where(slots < 0, slots, there.to(slots.dtype))

    def room(self, real: torch.Tensor, capacity: int) -> torch.Tensor:
        """A cache of zeros like ``real``, with ``capacity`` blocks."""
        shape = [*real.shape]
        shape[self.dim] = capacity
        outer = real.stride(self.dim)
        strides = [step * capacity // self.count if step > outer else step for step in real.stride()]
        strides[self.dim] = outer
        return torch.empty_strided(shape, strides, dtype=real.dtype, device=real.device).zero_()


class SparseProber(Prober):
    """Probes calls whose blocks were claimed. The cache has ``count`` blocks; ``sizes`` are the tokens of a block of each layer."""

    def __init__(self, count: int, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._count = count
        self._sizes = sizes
        self._places: dict[tuple, Places] = {}
        self._slots: torch.Tensor | None = None
        self._metadata: Any = None

    def claim(self, call: Call, requests: Sequence[int], slots: torch.Tensor) -> None:
        """Make room for what the ``requests``, by their places in the batch, have in the cache of a call that is probed next, whose
        tokens go to ``slots``.

        Raises:
            RuntimeError: its back end keeps maps of the whole cache.
        """
        metadata = call.metadata
        if hasattr(metadata, "physical_to_logical"):
            raise RuntimeError(
                f"{type(metadata).__name__} has maps of the whole KV cache, for which a server has no room twice"
            )
        places = self._of(call)
        for request in requests:
            used = -(-int(metadata.seq_lens[request]) // places.size)
            places.take(metadata.block_table[request, :used].long())
        self._slots = places.of_slots(slots)
        self._metadata = copy.copy(metadata)
        self._metadata.block_table = places.of_table(metadata.block_table)
        if hasattr(metadata, "slot_mapping"):
            self._metadata.slot_mapping = self._slots

    def forget(self) -> None:
        """Give the room back."""
        self._shadows.clear()
        self._places.clear()
        self._slots = self._metadata = None

    def shadow(self, call: Call, number: int) -> Shadow:
        real, places = call.kv_cache, self._of(call)
        key = (*_key(real), number)
        found = self._shadows.get(key)
        if found is None or found.cache.shape[places.dim] < places.capacity:
            cache = places.room(real, places.capacity)
            if found is not None:
                cache.narrow(places.dim, 0, found.cache.shape[places.dim]).copy_(found.cache)
            self._shadows[key] = Shadow(cache)
        return self._shadows[key]

    def slots(self, call: Call) -> torch.Tensor:
        assert self._slots is not None, "blocks are claimed before a probe"
        return self._slots

    def metadata(self, call: Call) -> Any:
        return self._metadata

    def _of(self, call: Call) -> Places:
        real = call.kv_cache
        if _key(real) not in self._places:
            dim = next((dim for dim in (0, 1) if real.shape[dim] % self._count == 0), None)
            if dim is None:
                raise RuntimeError(f"a KV cache of the shape {tuple(real.shape)} is not one of {self._count} blocks")
            blocks = real.shape[dim]
            size = self._count * self._sizes[_owner(call)] // blocks
            self._places[_key(real)] = Places(blocks, size, dim, real.device)
        return self._places[_key(real)]


def _key(cache: torch.Tensor) -> tuple:
    return (cache.data_ptr(), tuple(cache.shape), cache.stride())


def _owner(call: Call) -> str:
    """The layer that the keys and values of a call belong to."""
    return getattr(call.layer, "kv_sharing_target_layer_name", None) or call.layer_name
