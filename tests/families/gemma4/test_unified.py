"""12B has no towers: a patch is one soft token, in presets and in checkpoints that exist already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.families.checkpoint import _spec
from harness.families.gemma4.prompts import PATCH, POOL, patches
from harness.families.registry import of_type, preset, prompt_for
from harness.prompts.layout import Layout

TEXT = {
    "sliding_window": 1024, "layer_types": ["sliding_attention", "full_attention"], "hidden_size": 3840,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "intermediate_size": 15360, "vocab_size": 262144,
    "max_position_embeddings": 262144, "use_bidirectional_attention": "vision",
}  # fmt: skip
CONFIG = {"model_type": "gemma4_unified", "text_config": TEXT, "vision_config": {"mm_posemb_size": 1120}}


def test_a_soft_token_of_the_preset_is_one_patch() -> None:
    (item,) = prompt_for(Layout.parse("i5"), preset("12b-small")).items
    pixels, places = patches(item)
    assert pixels.shape == (1, 5, 3 * (PATCH * POOL) ** 2)
    assert places[0].tolist() == [[column, 0] for column in range(5)]


def test_a_checkpoint_is_of_the_first_family_with_its_own_patches(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    spec = _spec("12b", CONFIG, str(tmp_path))
    assert (spec.family, spec.unified, spec.bidirectional) == ("gemma4", True, "vision")
    assert of_type("gemma4_unified") is of_type("gemma4")
    (item,) = prompt_for(Layout.parse("t3 i280"), spec).items
    assert patches(item)[0].shape == (1, 280, 3 * 48**2)
    with pytest.raises(UsageError, match="images of at most 1120"):
        prompt_for(Layout.parse("i1121"), spec)
