"""A checksum of a tensor's bits to which those of its pieces add up, so that shards need not be put together first.

It is the sum over all elements, modulo 2^64, of the element's bits times one odd pseudo-random number for each of its
indices. A change of one element always changes it; any other change, an exchange of rows for instance, but for a chance
of about 2^-60. It is computed where the tensor lies: on a GPU at the speed of its memory. `of_bits` is the same for an
interpreter without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

BITS = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}
AT_ONCE = 1 << 22
"""Elements that are widened to 64 bits at the same time."""


def of(tensor: torch.Tensor, dtype: torch.dtype, starts: Sequence[int] = ()) -> int:
    """The checksum of ``tensor`` in ``dtype``, a piece whose first element stands at the indices ``starts`` of the whole
    (0 in each dimension if none are given)."""
    import torch

    tensor = tensor.detach().reshape(tensor.shape or (1,))
    starts = starts or [0] * tensor.ndim
    factors = [
        _factors(dim, start, size, tensor.device)
        for dim, (start, size) in enumerate(zip(starts, tensor.shape, strict=True))
    ]
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    if not tensor.numel():
        return 0
    rows = max(1, AT_ONCE // tensor[0].numel())
    for first in range(0, len(tensor), rows):
        some = tensor[first : first + rows].to(dtype).contiguous()
        values = some.view(getattr(torch, BITS[some.element_size()])).to(torch.int64)
        for factor in reversed(factors[1:]):
            values = (values * factor).sum(dim=-1)
        total += (values * factors[0][first : first + rows]).sum()
    return total.item() % (1 << 64)


def of_bits(array: np.ndarray) -> int:
    """The checksum of a whole NumPy array, by the bits of its elements: those of another dtype are what `of` takes in that."""
    array = np.ascontiguousarray(array.reshape(array.shape or (1,)))
    values = array.view(BITS[array.itemsize]).astype(np.int64)
    for dim, size in reversed(list(enumerate(array.shape))):
        values = (values * _numbers(dim, size)).sum(axis=-1, dtype=np.int64)
    return int(values) % (1 << 64)


def added(sums: Iterable[int]) -> int:
    """The checksum of a whole, from those of its pieces."""
    return sum(sums) % (1 << 64)


def _factors(dim: int, start: int, size: int, device: torch.device) -> torch.Tensor:
    import torch

    return torch.from_numpy(_numbers(dim, start + size)[start:].copy()).to(device)


@lru_cache(maxsize=64)
def _numbers(dim: int, count: int) -> np.ndarray:
    """Odd numbers; numpy promises that a bit generator's stream stays the same in all its releases."""
    return (np.random.PCG64(dim).random_raw(count) | np.uint64(1)).view(np.int64)
