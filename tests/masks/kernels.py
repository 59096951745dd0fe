"""Attention with query 0 and key 0, computed as kernels compute it: the weights, and where they are rounded."""

from __future__ import annotations

import numpy as np
import torch

from harness.masks import probe

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def normalized_first(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """As the eager reference: a softmax rounded to the values' dtype, then the sum."""
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
    return (shares.to(values.dtype).double() @ values.double()).to(values.dtype)


def normalized_last(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """As flash kernels: the sum of exp(0) = 1 times values, divided at the end."""
    sums = weights.double() @ values.double()
    return (sums / weights.sum(-1, keepdim=True).clamp_min(1e-30)).to(values.dtype)


KERNELS = [normalized_first, normalized_last]


def outputs(weights: torch.Tensor, channels: int, dtype: torch.dtype, kernel=normalized_last) -> torch.Tensor:
    """Outputs (passes, rows, heads, channels) for weights (heads, rows, keys), not normalized, 0 where masked."""
    positions = torch.arange(weights.shape[-1])
    passes = range(probe.passes_for(len(positions), channels))
    values = [probe.codes(positions, channels, number, dtype) for number in passes]
    return torch.stack([kernel(weights.double(), value) for value in values]).transpose(1, 2)


def decode(passes: torch.Tensor, keys: int, kv_heads: int = 0) -> torch.Tensor:
    """The boolean mask that a decoder makes of outputs (passes, rows, heads, channels): (rows, heads, keys), or of
    ``kv_heads`` groups of query heads (groups, rows, keys)."""
    decoder = probe.Decoder()
    for output in passes:
        decoder.add(output)
    recovered = decoder.recovered(kv_heads or passes.shape[2])
    try:
        surplus = recovered.surplus()
    except probe.ProbeError:
        assert recovered.doubtful
        raise
    assert surplus is None and not recovered.doubtful
    mask = unpacked(probe.cut(recovered.mask, keys), keys)
    return mask if kv_heads else mask.transpose(0, 1)


def unpacked(mask: torch.Tensor, keys: int) -> torch.Tensor:
    return torch.from_numpy(np.unpackbits(mask.contiguous().numpy(), axis=-1, count=keys).astype(bool))
