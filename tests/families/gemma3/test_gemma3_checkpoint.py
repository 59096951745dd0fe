"""The config.json of a published Gemma 3 leaves much out; what is damaged in one is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.families.gemma3.prompts import crops
from harness.families.registry import FAMILIES
from harness.prompts.layout import Layout

FAMILY = FAMILIES["gemma3"]
TEXT = {
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 34,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024,
}
PUBLISHED = {"model_type": "gemma3", "mm_tokens_per_image": 256, "text_config": TEXT}


def test_what_a_published_one_leaves_out_is_as_both_sides_take_it() -> None:
    spec = FAMILY.spec_of("4b", PUBLISHED, "/somewhere")
    assert (spec.layers, spec.window, spec.image_tokens) == ("sssssf" * 5 + "ssss", 1024, 256)
    assert (spec.heads, spec.kv_heads, spec.head_dim, spec.vocab, spec.softcap) == (8, 4, 256, 262_208, None)
    assert FAMILY.soft_tokens("image", "one", (48, 16), FAMILY.pictures(spec)) == 256


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mm_tokens_per_image": 8}, "mm_tokens_per_image, 8, is no square number"),
        ({"mm_tokens_per_image": 0}, "mm_tokens_per_image"),
        ({"text_config": {**TEXT, "hidden_size": "2560"}}, "text_config.hidden_size"),
        (
            {"text_config": {**TEXT, "num_attention_heads": 6}},
            "num_attention_heads, 6, is no multiple",
        ),
        (
            {"text_config": {**TEXT, "layer_types": ["full_attention"]}},
            "num_hidden_layers is 34 of 1",
        ),
        ({"text_config": {**TEXT, "use_bidirectional_attention": True}}, "encodes text"),
    ],
)
def test_what_is_damaged_is_named(changes: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        FAMILY.spec_of("4b", {**PUBLISHED, **changes}, "/somewhere")


def test_a_layout_for_a_checkpoint_has_its_ids_and_its_pixels(tmp_path: Path) -> None:
    vision = {"image_size": 896}
    (tmp_path / "config.json").write_text(json.dumps({**PUBLISHED, "vision_config": vision}))
    spec = FAMILY.spec_of("4b", PUBLISHED, str(tmp_path))
    prompt = FAMILY.prompt_for(Layout.parse("t3 i256 t2"), spec, 0, "layout")
    assert prompt.token_ids[3:6] == (255_999, 262_144, 262_144) and prompt.token_ids[260] == 256_000
    assert all(512 <= number < 255_999 for number in (*prompt.token_ids[:3], *prompt.token_ids[-2:]))
    assert crops(prompt.items[0], spec.image_tokens).shape == (1, 3, 896, 896)
    with pytest.raises(UsageError, match="a multiple of 256 soft tokens"):
        FAMILY.prompt_for(Layout.parse("i5"), spec, 0, "layout")
