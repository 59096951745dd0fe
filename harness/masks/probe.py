"""Recovering the mask that an attention kernel applied.

The kernel is run with query 0 and key 0, so that each of the |A| keys that a query may attend has
the weight 1/|A|, and with a code of the key's position as value. Position p of a pass that covers
C channels x 4 bits has the value ``2 ** bit`` on one channel, ``channel = p % C``, ``bit = p // C``.
The output times |A| is then, per channel, the integer whose bits say which keys were attended.
4 bits survive the 8 bits of mantissa of bfloat16 (error 15 * 2**-8 < 0.5 / 8).

|A| is not given to the decoder: it is found from the outputs as the one integer for which all
channels are integers and the number of set bits is |A| itself. A row for which there is no such
integer, or more than one, is an error: the kernel did something that the probe does not understand.

Rounding: the kernel's output has a relative error of half an epsilon of its dtype, and where the
weights are rounded to that dtype before the product with the values (eager attention) another half,
the same for all channels. 1.25 epsilon are allowed in 16 bits; in float32, whose sums of up to
thousands of weights are not exact, 64.
"""

from __future__ import annotations

import math

import torch

BITS = 4
_TOP = 2**BITS - 1


class ProbeError(RuntimeError):
    """The weights did not come out as 1/|A|; nothing can be said about the mask."""


def passes_for(tokens: int, channels: int) -> int:
    """How many passes recover ``tokens`` keys with ``channels`` (a head's size) channels."""
    return math.ceil(tokens / (channels * BITS))


def codes(positions: torch.Tensor, channels: int, index: int, dtype: torch.dtype) -> torch.Tensor:
    """The values (tokens, channels) of the keys at ``positions`` (tokens,) in pass ``index``."""
    place = positions - index * channels * BITS
    inside = (place >= 0) & (place < channels * BITS)
    place = torch.where(inside, place, 0)
    value = torch.where(inside, 2.0 ** (place // channels), 0.0).to(dtype)
    return torch.zeros(len(positions), channels, dtype=dtype, device=positions.device).scatter_(
        1, (place % channels)[:, None], value[:, None]
    )


def decode(outputs: torch.Tensor, keys: int) -> torch.Tensor:
    """The boolean mask (rows, heads, keys) from kernel outputs (passes, rows, heads, channels).

    Raises:
        ProbeError: some row has no |A|, or several, that explain its outputs.
    """
    passes, rows, heads, channels = outputs.shape
    epsilon = torch.finfo(outputs.dtype).eps
    slack = 1.25 * epsilon if epsilon > 1e-4 else 64 * epsilon
    flat = outputs.permute(1, 2, 0, 3).reshape(rows, heads, passes * channels).to(torch.float32)
    if not torch.isfinite(flat).all():
        raise ProbeError(f"the kernel's output is not finite in {int((~torch.isfinite(flat)).any(-1).sum())} rows")
    largest = flat.amax(-1, keepdim=True)
    empty = (flat == 0).all(-1)
    sums = torch.zeros_like(flat, dtype=torch.uint8)
    answers = torch.zeros(rows, heads, dtype=torch.int32, device=flat.device)
    for top in range(1, _TOP + 1):
        attended = top / largest.clamp_min(1e-30)
        scaled = flat * attended
        whole = scaled.round()
        count = _bit_count(whole.clamp(0, _TOP).to(torch.uint8)).sum(-1, dtype=torch.int32)
        exact = count[..., None].to(torch.float32)
        fits = (
            ((whole - scaled).abs().amax(-1) <= 0.25)
            & (whole.amin(-1) >= 0)
            & ((exact - attended).abs() <= (slack * attended).clamp_min(1e-3)).squeeze(-1)
            & ((flat * exact - whole).abs() <= slack * whole + 1e-6).all(-1)
        )
        answers += fits
        sums = torch.where(fits[..., None], whole.clamp(0, _TOP).to(torch.uint8), sums)
    wrong = (answers != 1) & ~empty
    if wrong.any():
        row, head = (int(index) for index in wrong.nonzero()[0])
        raise ProbeError(
            f"the weights of {int(wrong.sum())} rows are not 1/|A|; the first is row {row}, head {head}, with "
            f"{int(answers[row, head])} explanations; its non-zero outputs begin "
            f"{[round(float(value), 5) for value in flat[row, head][flat[row, head] != 0][:8]]}"
        )
    bits = torch.arange(BITS, dtype=torch.uint8, device=flat.device)
    by_pass = sums.view(rows, heads, passes, 1, channels)
    return (by_pass >> bits[:, None] & 1).bool().reshape(rows, heads, -1)[..., :keys]


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


def _bit_count(values: torch.Tensor) -> torch.Tensor:
    return (values & 1) + (values >> 1 & 1) + (values >> 2 & 1) + (values >> 3 & 1)
