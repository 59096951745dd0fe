"""The config.json of a published Gemma 3 leaves much out; what is damaged in one is named."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.families.registry import FAMILIES

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
