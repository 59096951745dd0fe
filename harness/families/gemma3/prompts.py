"""From a layout to the prompt that both sides are given, and the pixels of its images, which need numpy alone."""

from __future__ import annotations

import math

import numpy as np

from harness.errors import UsageError
from harness.families.drawn import check_length, prompt_of
from harness.families.gemma3.tokens import FIRST_WORD, ID_OF_KIND
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Item, Prompt

PATCH = 4
POOL = 2
"""Patches along a side of what the projector averages to one soft token."""


def side(image_tokens: int) -> int:
    """Pixels along a side of a preset's crop."""
    return math.isqrt(image_tokens) * POOL * PATCH


def prompt_for(layout: Layout, spec: ModelSpec, seed: int = 0, field: str = "layout") -> Prompt:
    """The prompt of a layout, which an error calls ``field``.

    Raises:
        UsageError: the layout is longer than the model, has something else than text and images, or an image that is no whole
            number of crops.
    """
    check_length(layout, spec, field)
    if other := sorted(layout.kinds - {"text", "image"}):
        raise UsageError(field, str(layout), f"text and images alone; the model {spec.name} takes no {other[0]}")
    if any(segment.form != "t" and segment.soft % spec.image_tokens for segment in layout.segments):
        raise UsageError(
            field,
            str(layout),
            f"an image has a multiple of {spec.image_tokens} soft tokens, as many as {spec.name} makes of one crop",
        )
    if spec.source:
        from harness.families.gemma3 import checkpoint

        own = checkpoint.takes(spec)
        return prompt_of(layout, own.ids, own.words, seed, (own.side,))
    return prompt_of(layout, ID_OF_KIND, (FIRST_WORD, spec.vocab), seed, (side(spec.image_tokens),))


def crops(item: Item, image_tokens: int) -> np.ndarray:
    """Pixels (crops, 3, side, side) float32 in -1..1, each crop of ``image_tokens`` soft tokens."""
    (pixels,) = item.cut
    shape = (item.soft // image_tokens, 3, pixels, pixels)
    return np.random.default_rng([item.seed, 2]).uniform(-1, 1, shape).astype(np.float32)
