"""Prints how far transformers' eager attention is from itself by rows, and from the unrounded one, which is taken by rows too.

``python -m tests.references.transformers.eager_attention``
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import torch
from transformers.models.gemma4 import modeling_gemma4

from harness.references.transformers import attention

PROMPTS, HEADS, KV_HEADS, TOKENS, CHANNELS = 2, 4, 2, 50, 16
MODULE = SimpleNamespace(num_key_value_groups=HEADS // KV_HEADS, training=False, is_causal=True)


def main() -> None:
    torch.manual_seed(0)
    shape = (TOKENS, CHANNELS)
    query = torch.randn(PROMPTS, HEADS, *shape, dtype=torch.float64)
    key, value = (torch.randn(PROMPTS, KV_HEADS, *shape, dtype=torch.float64) for _ in range(2))
    allowed = (torch.rand(PROMPTS, 1, TOKENS, TOKENS) < 0.5) | torch.eye(TOKENS, dtype=torch.bool)
    mask = torch.zeros(allowed.shape, dtype=torch.float64).masked_fill_(~allowed, torch.finfo(torch.float64).min)

    def attend() -> torch.Tensor:
        return modeling_gemma4.eager_attention_forward(MODULE, query, key, value, mask, scaling=0.3)[0]

    whole = attend()
    rows, unrounded = {}, {}
    for scores in (1, 7 * PROMPTS * HEADS * TOKENS, TOKENS**2 * PROMPTS * HEADS):
        attention.SCORES = scores
        with attention.by_rows(modeling_gemma4):
            rows[scores] = (attend() - whole).abs().max().item()
        with attention.unrounded(modeling_gemma4):
            unrounded[scores] = attend()
    once, *others = unrounded.values()
    apart = max((other - once).abs().max().item() for other in others)
    mask = None
    unmasked = attend()
    with attention.unrounded(modeling_gemma4):
        unmasked_apart = (attend() - unmasked).abs().max().item()
    assert torch.equal(attend(), unmasked), "something is still in place"
    found = {"unrounded": (once - whole).abs().max().item(), "unmasked": unmasked_apart}
    print(json.dumps({"by rows": max(rows.values()), "unrounded by rows": apart, **found}))


if __name__ == "__main__":
    main()
