"""Transformers' attention functions, as the reference driver lets the model call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import ModuleType

import torch

from harness.families.base import ReferenceSide

SCORES = 1 << 27
"""Scores that eager attention holds at a time; half a GiB in float32."""
OTHER = {"eager": "sdpa", "sdpa": "eager", "flex_attention": "eager"}
"""The implementation that gives the noise floor its second sample, where one is asked for."""


def function(modeling: ModuleType, implementation: str) -> Callable:
    """What transformers calls for this implementation in the module ``modeling`` of a model."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return modeling.eager_attention_forward if implementation == "eager" else ALL_ATTENTION_FUNCTIONS[implementation]


@contextmanager
def replaced(modeling: ModuleType, implementation: str, other: Callable) -> Iterator[None]:
    """Let transformers call another function for this implementation."""
    before = function(modeling, implementation)
    _put(modeling, implementation, other)
    try:
        yield
    finally:
        _put(modeling, implementation, before)


def _put(modeling: ModuleType, implementation: str, called: Callable) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if implementation == "eager":
        modeling.eager_attention_forward = called  # type: ignore[attr-defined]
    else:
        ALL_ATTENTION_FUNCTIONS[implementation] = called


def by_rows(modeling: ModuleType) -> AbstractContextManager[None]:
    """Let eager attention take some queries of a long prompt at a time, so that it never holds a score for every pair and
    head. A row of scores does not depend on the others, so what it computes stays the same."""
    return replaced(modeling, "eager", partial(_by_rows, function(modeling, "eager")))


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
def implemented(family: ReferenceSide, model, name: str) -> Iterator[None]:
    """Let the model attend with another of transformers' implementations."""
    before = model.config._attn_implementation
    _implement(family, model, name)
    try:
        yield
    finally:
        _implement(family, model, before)


def _implement(family: ReferenceSide, model, name: str) -> None:
    model.set_attn_implementation(name)
    family.prepare(model)


def unrounded(modeling: ModuleType) -> AbstractContextManager[None]:
    """Let a model whose implementation is eager apply the masks of eager attention by `scaled_dot_product_attention`.

    That is for the truth: eager attention rounds its weights to float32 in whatever precision the model is
    (`eager_attention_forward`). Queries are taken as in `by_rows`: on a GPU torch has no kernel for float64 that does not hold a
    score for every pair and head. As in eager attention, only a mask leaves keys out.
    """
    return replaced(modeling, "eager", partial(_by_rows, partial(function(modeling, "sdpa"), is_causal=False)))
