"""From a layout to the prompt that both sides are given: token ids, placeholders and pixels.

The arrays are not stored: each side draws them from the prompt's seed with the functions here, which
need numpy alone. An image of n soft tokens is a grid of n * pool by pool patches, which the vision
tower pools to exactly n tokens; a checkpoint that exists already has its own sides of a patch and of a pool.
"""

from __future__ import annotations

import numpy as np

from harness.errors import UsageError
from harness.families.drawn import check_length, prompt_of
from harness.families.gemma4.tokens import FIRST_WORD, ID_OF_KIND
from harness.prompts.layout import LONGEST_FRAME, Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Item, Prompt

PATCH = 4
POOL = 2
"""The sides of a patch in pixels and of a pool in patches, of presets."""
MERGED = (PATCH * POOL, 1)
"""The two sides where a pool of patches is one patch, which becomes one soft token."""
UNIFIED = "gemma4_unified"
"""The `model_type` of 12B, which has no towers: patches go through one projection."""
MEL_BINS = 128


def prompt_for(layout: Layout, spec: ModelSpec, seed: int = 0, field: str = "layout") -> Prompt:
    """The prompt of a layout, which an error calls ``field``; the same arguments give the same prompt, and two seeds other words
    and pictures.

    Raises:
        UsageError: the layout is longer than the model, has audio and the model no audio tower, a frame of
            more than `LONGEST_FRAME`, or what a checkpoint that exists already cannot be given.
    """
    check_length(layout, spec, field)
    if "audio" in layout.kinds and not spec.audio:
        raise UsageError(field, str(layout), f"the model {spec.name} has no audio tower; tiny-audio has one")
    if any(segment.form == "v" and segment.soft > LONGEST_FRAME for segment in layout.segments):
        raise UsageError(field, str(layout), f"a video's frame has at most {LONGEST_FRAME} soft tokens")
    if spec.source:
        from harness.families.gemma4 import takes

        takes.check(layout, spec, field)
        made = takes.of(spec)
        return prompt_of(layout, made.ids, made.words, seed, made.cut)
    return prompt_of(layout, ID_OF_KIND, (FIRST_WORD, spec.vocab), seed, MERGED if spec.unified else ())


def cut_of(item: Item) -> tuple[int, int]:
    """The sides of a patch in pixels and of a pool in patches."""
    patch, pool = item.cut or (PATCH, POOL)
    return patch, pool


def patches(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (frames, soft * pool**2, 3 * patch**2) float32 in 0..1 and (x, y) positions (frames, soft * pool**2, 2)."""
    patch, pool = cut_of(item)
    count = item.soft * pool**2
    pixels = np.random.default_rng([item.seed, 2]).random((item.frames, count, 3 * patch**2), dtype=np.float32)
    columns = item.soft * pool
    grid = np.stack([np.arange(count) % columns, np.arange(count) // columns], axis=-1)
    return pixels, np.broadcast_to(grid, (item.frames, count, 2)).astype(np.int64).copy()


def mel_frames(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Mel features (4 * soft, MEL_BINS) float32 and their mask; two convolutions of stride 2 make one token of 4."""
    features = np.random.default_rng([item.seed, 3]).standard_normal((4 * item.soft, MEL_BINS), dtype=np.float32)
    return features, np.ones(4 * item.soft, dtype=bool)
