"""Named model specs.

`tiny` (with variants) and `deep` are made for the CPU and have all that a vision tower may hold. The others carry the
flags and the layer pattern of the published checkpoints' text and vision configurations (google/gemma-4-E2B-it, -E4B-it,
-12B-it, -26B-A4B-it, -31B-it) in small widths: bidirectional attention over images is on in 12B, 26B-A4B and 31B, standardised
soft tokens in 26B-A4B and 31B, linear layers of the towers are clipped in E2B and E4B (transformers, `convert_gemma4_weights.py`).
"""

from __future__ import annotations

from functools import partial

from harness.errors import UsageError
from harness.families.base import CAUSAL
from harness.prompts.model_spec import ModelSpec

_PATTERN = "sssssf"
_whole = partial(ModelSpec, standardize=True, clipped=True)

PRESETS = {
    spec.name: spec
    for spec in (
        _whole("tiny"),
        _whole("deep", layers=_PATTERN),
        _whole("tiny-audio", audio=True),
        _whole("tiny-causal", bidirectional=None),
        ModelSpec(
            "e2b-small", layers="ssssf" * 2, kv_shared_layers=5, per_layer_input=16, bidirectional=None, kv_heads=1,
            global_kv_heads=1, double_wide=True, clipped=True,
        ),
        ModelSpec("e4b-small", layers=_PATTERN * 2, kv_shared_layers=6, per_layer_input=16, bidirectional=None, clipped=True),
        ModelSpec("26b-a4b-small", layers=_PATTERN, moe=(8, 2), k_eq_v=True, kv_heads=2, global_kv_heads=1, standardize=True),
        ModelSpec("12b-small", layers=_PATTERN, k_eq_v=True, kv_heads=2, global_kv_heads=1, unified=True),
        ModelSpec("31b-small", layers=_PATTERN, k_eq_v=True, kv_heads=2, global_kv_heads=1, standardize=True),
        ModelSpec(
            "26b-a4b-shape", window=1024, layers=_PATTERN, hidden=512, heads=16, kv_heads=8, head_dim=256,
            global_head_dim=512, global_kv_heads=2, intermediate=512, vocab=1024, weight_std=0.1, k_eq_v=True,
            moe=(8, 2), standardize=True, max_length=8192,
        ),
        ModelSpec(
            "31b-shape", window=1024, layers=_PATTERN, hidden=512, heads=32, kv_heads=16, head_dim=256,
            global_head_dim=512, global_kv_heads=4, intermediate=512, vocab=1024, weight_std=0.1, k_eq_v=True,
            standardize=True, max_length=8192,
        ),
        ModelSpec(
            "12b-shape", window=1024, layers=_PATTERN, hidden=512, heads=16, kv_heads=8, head_dim=256,
            global_head_dim=512, global_kv_heads=1, intermediate=512, vocab=1024, weight_std=0.1, k_eq_v=True,
            unified=True, max_length=8192,
        ),
        ModelSpec(
            "e4b-shape", window=512, layers=_PATTERN, hidden=512, heads=8, kv_heads=2, head_dim=256,
            global_head_dim=512, global_kv_heads=2, intermediate=512, vocab=1024, weight_std=0.1,
            bidirectional=None, per_layer_input=64, clipped=True, max_length=8192,
        ),
    )
}  # fmt: skip
"""By name, in the order in which `harness show --models` lists them."""


def preset(name: str) -> ModelSpec:
    """The preset of this name; each has a twin, with ``-causal`` at the end of its name, whose images are causal.

    Raises:
        UsageError: there is none.
    """
    if name in PRESETS:
        return PRESETS[name]
    other = name.removesuffix(CAUSAL)
    if other not in PRESETS or other == name:
        raise UsageError("model", name, f"one of {', '.join(PRESETS)}")
    return causal(PRESETS[other])


def causal(spec: ModelSpec) -> ModelSpec:
    """A spec whose configuration does not ask for bidirectional images."""
    return spec.with_(name=f"{spec.name}{CAUSAL}", bidirectional=None)
