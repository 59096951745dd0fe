"""Named model specs of Gemma 3.

A crop of a picture becomes `mm_tokens_per_image` soft tokens, a square number. In `gemma3-tiny` it is one, so that an image of a
layout may have any length: n soft tokens are n crops of one picture, handed over as pan and scan hands them over. The others have
the layer pattern and the proportions of google/gemma-3-4b-it in small widths: 34 layers there end with four sliding ones, and a
crop is no longer than the window.
"""

from __future__ import annotations

from functools import partial

from harness.prompts.model_spec import ModelSpec

_gemma3 = partial(
    ModelSpec, family="gemma3", ends_full=False, global_head_dim=64, softcap=None,
)  # fmt: skip

PRESETS = {
    spec.name: spec
    for spec in (
        _gemma3("gemma3-tiny", image_tokens=1),
        _gemma3("gemma3-4b-small", window=32, layers="sssssfss", image_tokens=16),
    )
}
