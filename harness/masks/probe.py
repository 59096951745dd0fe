"""Recovering the mask that an attention kernel applied.

The kernel is run with query 0 and key 0, so that each of the |A| keys that a query may attend has
the weight 1/|A|, and with a one-hot code of the key's position as value: in a pass that covers C
keys, position p is 1 on channel ``p % C``. The output is then 1/|A| on the channels of the keys that
were attended and 0 on all others. ceil(N / C) passes recover N keys.

|A| is the number of channels that are not 0; where their value is not 1/|A| the kernel did something
that the probe does not understand, and that is an error. Packing several keys into a channel as
powers of two would need fewer passes, but has masks that cannot be told apart: the outputs
(1, 1.5, 2) are the keys (4, 6, 8) of |A| = 4 as well as (6, 9, 12) of |A| = 6.
"""

from __future__ import annotations

import math

import torch


class ProbeError(RuntimeError):
    """The weights did not come out as 1/|A|; nothing can be said about the mask."""


def passes_for(tokens: int, channels: int) -> int:
    """How many passes recover ``tokens`` keys with ``channels`` (a head's size) channels."""
    return math.ceil(tokens / channels)


def codes(positions: torch.Tensor, channels: int, index: int, dtype: torch.dtype) -> torch.Tensor:
    """The values (tokens, channels) of the keys at ``positions`` (tokens,) in pass ``index``."""
    inside = (positions // channels == index).to(dtype)
    values = torch.zeros(len(positions), channels, dtype=dtype, device=positions.device)
    return values.scatter_(1, (positions % channels).long()[:, None], inside[:, None])


def decode(outputs: torch.Tensor, keys: int) -> torch.Tensor:
    """The boolean mask (rows, heads, keys) from kernel outputs (passes, rows, heads, channels).

    A weight may be off by 1.25 epsilon of a 16-bit dtype: half for the rounding of the output and, where
    the weights are rounded before the product with the values (eager attention), another half. In
    float32, whose sums of up to thousands of weights are not exact, it may be off by 64.

    Raises:
        ProbeError: some row's outputs are not all 0 or 1/|A|.
    """
    passes, rows, heads, channels = outputs.shape
    epsilon = torch.finfo(outputs.dtype).eps
    slack = 1.25 * epsilon if epsilon > 1e-4 else 64 * epsilon
    flat = outputs.permute(1, 2, 0, 3).reshape(rows, heads, passes * channels).to(torch.float32)
    if not torch.isfinite(flat).all():
        raise ProbeError(f"the kernel's output is not finite in {int((~torch.isfinite(flat)).any(-1).sum())} rows")
    attended = flat != 0
    scaled = flat * attended.sum(-1, keepdim=True)
    wrong = (attended & ((scaled - 1).abs() > slack)).any(-1)
    if wrong.any():
        row, head = (int(index) for index in wrong.nonzero()[0])
        seen = flat[row, head][attended[row, head]]
        raise ProbeError(
            f"the weights of {int(wrong.sum())} rows are not 1/|A|; the first is row {row}, head {head}: {len(seen)} keys "
            f"with weights from {float(seen.min()):.5g} to {float(seen.max()):.5g}"
        )
    return attended[..., :keys]


def groups(mask: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """The mask per KV head group (kv_heads, rows, keys) from a mask per query head (rows, heads, keys).

    Raises:
        ProbeError: the query heads of one KV head group do not agree.
    """
    rows, heads, keys = mask.shape
    grouped = mask.view(rows, kv_heads, heads // kv_heads, keys)
    if (grouped != grouped[:, :, :1]).any():
        row, group = (int(index) for index in (grouped != grouped[:, :, :1]).any(-1).any(-1).nonzero()[0])
        raise ProbeError(f"the query heads of KV head group {group} do not agree in row {row}")
    return grouped[:, :, 0].permute(1, 0, 2)


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Boolean (..., keys) as uint8 (..., ceil(keys / 8)), the first key in the highest bit, as `numpy.packbits`."""
    padded = torch.nn.functional.pad(mask.to(torch.uint8), (0, -mask.shape[-1] % 8))
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=mask.device)
    return (padded.view(*mask.shape[:-1], -1, 8) * weights).sum(-1, dtype=torch.uint8)
