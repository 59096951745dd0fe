"""Masks of a policy laid over the reference, to see which of them gives the logits that serving was seen to compute."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch

from harness.drivers.messages import Forced
from harness.families.base import ReferenceSide
from harness.masks.policies import POLICIES
from harness.references.transformers.attention import function, replaced

Masks = dict[str, torch.Tensor]
"""By a layer's type the mask that its text layers attend by, boolean (N, N)."""
IMPLEMENTATION = "eager"
"""What a reference attends with whose masks are forced: it is given every mask as a tensor."""


def masks(forced: Forced, tokens: int, window: int, device: torch.device) -> Masks:
    """The masks of a prompt of ``tokens`` under a window of so many."""

    ends = torch.tensor(forced.ends or [tokens] * tokens, device=device)
    visible = torch.arange(tokens, device=device)[None, :] <= ends[:, None]

    def of(policy: str, *, sliding: bool) -> torch.Tensor:
        mask = POLICIES[policy].mask(tokens, forced.spans, window, sliding=sliding)
        return torch.from_numpy(mask).to(device) & visible

    return {
        "sliding_attention": of(forced.sliding, sliding=True),
        "full_attention": of(forced.full, sliding=False),
    }


def laid_over(family: ReferenceSide, forced: Forced | None, masks: Masks) -> AbstractContextManager[None]:
    """Let text layers attend by ``masks`` in the rows of the positions that are forced; as they do where nothing is."""
    if forced is None:
        return nullcontext()
    attend = partial(_attend, family.attention, function(family.modeling, IMPLEMENTATION), forced.positions, masks)
    return replaced(family.modeling, IMPLEMENTATION, attend)


def _attend(
    text: type[Any],
    original: Callable,
    positions: tuple[int, ...],
    masks: Masks,
    module: Any,
    query,
    key,
    value,
    own,
    **kwargs,
):
    if not isinstance(module, text):
        return original(module, query, key, value, own, **kwargs)
    wanted = masks[module.layer_type]
    mask = own[..., : len(wanted), : len(wanted)].clone()
    rows = list(positions)
    allowed = wanted[rows]
    lowest = torch.finfo(mask.dtype).min
    mask[..., rows, :] = torch.zeros_like(allowed, dtype=mask.dtype).masked_fill_(~allowed, lowest)
    return original(module, query, key, value, mask, **kwargs)
