"""What keras-hub's converter would pass over, and load as another model, is refused in one line that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UsageError
from harness.references.keras_hub import config

TEXT: dict[str, Any] = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default"},
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25},
    },
}


def test_what_it_computes_is_let_through() -> None:
    config.check({"model_type": "gemma4", "text_config": TEXT})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_activation", "relu"),
        ("attention_bias", True),
        ("tie_word_embeddings", False),
        ("use_bidirectional_attention", "all"),
        ("attention_k_eq_v", False),
        ("rope_parameters", {"full_attention": {"rope_type": "yarn"}}),
    ],
)
def test_another_value_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=field) as raised:
        config.check({"model_type": "gemma4", "text_config": {**TEXT, field: value}})
    assert "\n" not in str(raised.value)


def test_a_model_without_towers_is_refused() -> None:
    with pytest.raises(UsageError, match="config model_type: 'gemma4_unified' is not allowed; the keras-hub model has"):
        config.check({"model_type": "gemma4_unified", "text_config": TEXT})
