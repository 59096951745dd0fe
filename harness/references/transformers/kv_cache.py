"""Keys and values as a serving engine's KV cache keeps them, for the reference in the serving dtype.

Serving that keeps them in fewer bits is off by that rounding, however right it is. The reference then rounds them in the same
way where it attends, and the truth does not: so the noise floor has the rounding in it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from harness.families.base import ReferenceSide
from harness.references.transformers.attention import function, replaced

Round = Callable[[torch.Tensor], torch.Tensor]
"""Keys or values (..., head size) as they are read back, in the dtype in which they came."""
LEAST_SCALE = 1e-6
"""Of a token's head (vLLM 0.32.0, `triton_reshape_and_cache_flash.py`, `_reshape_cache_per_token_head`)."""
SIGNS = 0x9E3779B9
"""The seed of the signs of channels that are turned before they are kept in four bits (`_get_rht_signs`)."""


def kept_as(dtype: torch.dtype) -> Round:
    """Rounded to a floating-point dtype at the scale 1 that vLLM has where a checkpoint gives none; what is too large is its
    largest number, as vLLM's conversions saturate."""
    most = torch.finfo(dtype).max

    def rounded(values: torch.Tensor) -> torch.Tensor:
        return values.clamp(-most, most).to(dtype).to(values.dtype)

    return rounded


def scaled_by_token_and_head(most: float, least: float, to: torch.dtype) -> Round:
    """Rounded with one scale for each token and head, its largest magnitude being ``most`` (`_reshape_cache_per_token_head`);
    integers away from zero where they are halfway."""

    def rounded(values: torch.Tensor) -> torch.Tensor:
        exact = values.to(torch.float32)
        scale = (exact.abs().amax(-1, keepdim=True) / most).clamp(min=LEAST_SCALE)
        quotient = exact * (1.0 / scale)
        if not to.is_floating_point:
            quotient = _nearest(quotient)
        return (quotient.clamp(least, most).to(to).to(torch.float32) * scale).to(values.dtype)

    return rounded


def in_four_bits(values: torch.Tensor) -> torch.Tensor:
    """Turned by `turned`, rounded with a scale and a zero point for each token and head between the least and the largest of its
    values, and turned back (vLLM 0.32.0, `int4_per_token_head.py`, `_reshape_cache_int4_kernel`). The zero point takes the last
    four bits of the scale."""
    exact = turned(values.to(torch.float32)).to(values.dtype).to(torch.float32)
    least, most = exact.amin(-1, keepdim=True), exact.amax(-1, keepdim=True)
    scale = ((most - least) / 15.0).clamp(min=LEAST_SCALE)
    zero = _nearest(-least / scale).clamp(0, 15)
    steps = _nearest(exact * (1.0 / scale) + zero).clamp(0, 15)
    kept = (scale.view(torch.int32) & -16).view(torch.float32)
    return turned((steps - zero) * kept, back=True).to(values.dtype)


def turned(values: torch.Tensor, *, back: bool = False) -> torch.Tensor:
    """Values (..., head size) float32, with the signs of some channels changed and then put through a Hadamard transform, of as
    many channels at a time as the largest power of two that divides the head size (`single_rht`); or ``back`` again."""
    size = values.shape[-1]
    block = size & -size
    signs = 2 * torch.bernoulli(torch.full((block,), 0.5), generator=torch.Generator().manual_seed(SIGNS)) - 1
    signs, blocks = signs.to(values.device), values.reshape(*values.shape[:-1], size // block, block)
    blocks = blocks if back else blocks * signs
    step = 1
    while step < block:
        first, second = blocks.unflatten(-1, (block // (2 * step), 2, step)).unbind(-2)
        blocks = torch.stack([first + second, first - second], dim=-2).flatten(-3)
        step *= 2
    blocks = blocks * signs / block if back else blocks
    return blocks.reshape(values.shape)


def _nearest(values: torch.Tensor) -> torch.Tensor:
    """Whole numbers, away from zero where it is halfway."""
    return torch.trunc(values + torch.where(values >= 0, 0.5, -0.5))


E4M3 = torch.float8_e4m3fn
ROUNDED: dict[str, Round] = {
    "float16": kept_as(torch.float16),
    "bfloat16": kept_as(torch.bfloat16),
    "fp8": kept_as(E4M3),
    "fp8_e4m3": kept_as(E4M3),
    "fp8_e5m2": kept_as(torch.float8_e5m2),
    "int8_per_token_head": scaled_by_token_and_head(127.0, -128.0, torch.int8),
    "fp8_per_token_head": scaled_by_token_and_head(torch.finfo(E4M3).max, torch.finfo(E4M3).min, E4M3),
    "int4_per_token_head": in_four_bits,
}
"""By vLLM's name of a `kv_cache_dtype`."""


def rounding(family: ReferenceSide, implementation: str, kv_dtype: str) -> AbstractContextManager[None]:
    """Let text layers attend to keys and values that were kept as ``kv_dtype``; as they are where it is auto. What is attended to
    `unkept` is as it is given."""
    if kv_dtype == "auto":
        return nullcontext()
    attend = partial(_attend, family.attention, function(family.modeling, implementation), ROUNDED[kv_dtype])
    return replaced(family.modeling, implementation, attend)


def unkept(attend: Callable) -> Callable:
    """The attention function below one that rounds: four bits do not hold the codes that masks are read from."""
    return attend.args[1] if isinstance(attend, partial) and attend.func is _attend else attend


def _attend(text: type, original: Callable, rounded: Round, module, query, key, value, attention_mask, **kwargs):
    if isinstance(module, text):
        key, value = rounded(key), rounded(value)
    return original(module, query, key, value, attention_mask, **kwargs)
