"""Filling blocks of a KV cache whose values nobody may read."""

from __future__ import annotations

from collections.abc import Sequence

import torch

POISON, CLEAN = float("nan"), 0.0


def fill(cache: torch.Tensor, blocks: Sequence[int], count: int, value: float) -> None:
    """Fill ``blocks`` of the ``count`` that a KV cache has with a value. Back ends have the blocks in the first dimension, or in
    the second behind keys and values; a kernel may have several of its own in each.

    Raises:
        RuntimeError: the cache has a dtype without NaN, or no dimension of blocks.
    """
    if not cache.is_floating_point():
        raise RuntimeError(f"a KV cache of {cache.dtype} has no NaN to be poisoned with")
    dim = next((dim for dim in (0, 1) if cache.shape[dim] % count == 0), None)
    if dim is None:
        raise RuntimeError(f"a KV cache of the shape {tuple(cache.shape)} is not one of {count} blocks")
    each = cache.shape[dim] // count
    index = torch.tensor(blocks, dtype=torch.long)[:, None] * each + torch.arange(each)
    cache.index_fill_(dim, index.flatten().to(cache.device), value)
