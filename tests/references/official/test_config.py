"""What the official model cannot be configured like is refused in one line that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UsageError
from harness.references.official import config

TEXT: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "layer_types": [*["sliding_attention"] * 5, "full_attention"] * 2,
    "sliding_window": 8,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rms_norm_eps", 1e-5),
        ("hidden_activation", "relu"),
        ("attention_bias", True),
        ("tie_word_embeddings", False),
        ("use_bidirectional_attention", "all"),
        ("num_kv_shared_layers", 5),
        ("rope_parameters", {"full_attention": {"rope_type": "yarn"}}),
    ],
)
def test_it_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=field) as raised:
        config.fields({**TEXT, field: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shared", [0, 6])
def test_shared_keys_are_taken_from_the_layers_that_transformers_takes_them_from(shared: int) -> None:
    found = config.fields({**TEXT, "num_kv_shared_layers": shared})["kv_cache_sharing_config"]
    assert (found or {}).get("frac_shared_layers", 0) * 12 == shared


def test_what_a_config_does_not_say_is_what_transformers_takes() -> None:
    found = config.fields({**TEXT, "rope_parameters": {"full_attention": {"rope_theta": 5.0}}})
    assert (found["global_base_frequency"], found["local_base_frequency"]) == (5.0, 10_000.0)
    assert found["global_rope_proportion"] == 0.25
