"""The shapes of the published Gemma 4 models' text decoders.

The numbers are those of the official implementation (`gemma` 4.0.1, `gm/nn/gemma4/_gemma4.py`, a class for each), under the
names that transformers' `Gemma4TextConfig` gives them. The unified 12B, of which the official implementation has no class, has the
numbers of google/gemma-4-12B-it's config.json; transformers' model of them has the 11,959,730,224 weights that the hub counts.
"""

from __future__ import annotations

from functools import partial

from harness.families.limits import LONGEST
from harness.prompts.model_spec import ModelSpec

_large = partial(
    ModelSpec,
    window=1024,
    head_dim=256,
    global_head_dim=512,
    vocab=262_144,
    k_eq_v=True,
    standardize=True,
    max_length=LONGEST,
)
_small = partial(
    ModelSpec, window=512, heads=8, head_dim=256, global_head_dim=512, vocab=262_144, per_layer_input=256, bidirectional=None,
    audio=True, clipped=True, max_length=LONGEST,
)  # fmt: skip

PUBLISHED = {
    spec.name: spec
    for spec in (
        _large(
            "31b", layers="sssssf" * 10, hidden=5376, heads=32, kv_heads=16, global_kv_heads=4, intermediate=21_504,
        ),
        _large(
            "26b-a4b", layers="sssssf" * 5, hidden=2816, heads=16, kv_heads=8, global_kv_heads=2, intermediate=2112,
            moe=(128, 8), expert=704,
        ),
        _large(
            "12b", layers="sssssf" * 8, hidden=3840, heads=16, kv_heads=8, global_kv_heads=1, intermediate=15_360,
            standardize=False, unified=True,
        ),
        _small(
            "e4b", layers="sssssf" * 7, hidden=2560, kv_heads=2, global_kv_heads=2, intermediate=10_240, kv_shared_layers=18,
        ),
        _small(
            "e2b", layers="ssssf" * 7, hidden=1536, kv_heads=1, global_kv_heads=1, intermediate=6144, kv_shared_layers=20,
            double_wide=True,
        ),
    )
}  # fmt: skip
"""By name. They are built with drawn weights only where that is asked for (`--weights dummy`)."""
