"""Transformers' attention functions, as the reference driver lets the model call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch

SCORES = 1 << 27
"""Scores that eager attention holds at a time; half a GiB in float32."""
OTHER = {"eager": "sdpa", "sdpa": "eager", "flex_attention": "eager"}
"""The implementation that gives the noise floor its second sample, where one is asked for."""


def function(implementation: str) -> Callable:
    """What transformers calls for this implementation."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.gemma4 import modeling_gemma4

    return (
        modeling_gemma4.eager_attention_forward
        if implementation == "eager"
        else ALL_ATTENTION_FUNCTIONS[implementation]
    )


@contextmanager
def replaced(implementation: str, other: Callable) -> Iterator[None]:
    """Let transformers call another function for this implementation."""
    before = function(implementation)
    _put(implementation, other)
    try:
        yield
    finally:
        _put(implementation, before)


def _put(implementation: str, called: Callable) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.gemma4 import modeling_gemma4

    if implementation == "eager":
        modeling_gemma4.eager_attention_forward = called
    else:
        ALL_ATTENTION_FUNCTIONS[implementation] = called


def by_rows() -> AbstractContextManager[None]:
    """Let eager attention take some queries of a long prompt at a time, so that it never holds a score for every pair and
    head. A row of scores does not depend on the others, so what it computes stays the same."""
    return replaced("eager", partial(_by_rows, function("eager")))


def _by_rows(eager: Callable, module, query, key, value, attention_mask, **kwargs):
    prompts, heads, queries, _ = query.shape
    rows = max(1, SCORES // (prompts * heads * key.shape[2]))
    if queries <= rows:
        return eager(module, query, key, value, attention_mask, **kwargs)
    outputs = []
    for start in range(0, queries, rows):
        some = slice(start, start + rows)
        mask = attention_mask if attention_mask is None or attention_mask.shape[2] == 1 else attention_mask[:, :, some]
        outputs.append(eager(module, query[:, :, some], key, value, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None


@contextmanager
def implemented(model, name: str) -> Iterator[None]:
    """Let the model attend with another of transformers' implementations."""
    before = model.config._attn_implementation
    _implement(model, name)
    try:
        yield
    finally:
        _implement(model, before)


def _implement(model, name: str) -> None:
    model.set_attn_implementation(name)
    hear_rightly(model)


def hear_rightly(model) -> None:
    """Let the audio tower, if there is one, make its masks for sdpa whatever the rest of the model attends with: those of eager
    attention are additive, and the tower takes what is not 0 for allowed (docs/findings/transformers-audio-eager-mask.md)."""
    tower = getattr(model.model, "audio_tower", None)
    if tower is not None:
        tower.config._attn_implementation = "sdpa"


def unrounded() -> AbstractContextManager[None]:
    """Let a model whose implementation is eager apply the masks of eager attention by `scaled_dot_product_attention`.

    That is for the truth: eager attention rounds its weights to float32 in whatever precision the model is
    (`modeling_gemma4.py`, `eager_attention_forward`), and holds a score for every pair and head.
    """
    return replaced("eager", function("sdpa"))
