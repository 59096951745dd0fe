"""From a checkpoint's config.json to what `Gemma4Backbone` is made with: keras-hub's own converter, and what it passes over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.references.tensors import check_fields, refused

NAME = "keras-hub"
MODEL_TYPE = "gemma4"
ONLY: dict[str, tuple[Any, ...]] = {
    "hidden_activation": ("gelu_pytorch_tanh",),
    "attention_bias": (False,),
    "tie_word_embeddings": (True,),
    "use_bidirectional_attention": (None, "vision"),
}
"""Fields of which `Gemma4Backbone` knows these values only: it has no option for them."""
ROPE = {"sliding_attention": "default", "full_attention": "proportional"}
"""By the type of a layer the `rope_type` that it computes."""


def check(config: Mapping[str, Any]) -> None:
    """Refuse what keras-hub would not load, or would load as another model.

    Raises:
        UsageError: it is no Gemma 4 to keras-hub, or a field has a value that it passes over; the line names it.
    """
    if config.get("model_type") != MODEL_TYPE:
        raise refused(NAME, "model_type", config.get("model_type"), MODEL_TYPE)
    text = config["text_config"]
    check_fields(NAME, text, ONLY)
    rope = text.get("rope_parameters") or {}
    for kind, known in ROPE.items():
        if (found := (rope.get(kind) or {}).get("rope_type")) != known:
            raise refused(NAME, f"rope_parameters.{kind}.rope_type", found, known)
    if bool(text.get("attention_k_eq_v")) != (text.get("num_global_key_value_heads") is not None):
        raise refused(
            NAME,
            "attention_k_eq_v",
            text.get("attention_k_eq_v"),
            "keys as values where num_global_key_value_heads is given",
        )


def decoder(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Gemma4Backbone` for the text model, as keras-hub's converter makes them of a checkpoint without towers."""
    from keras_hub.src.utils.transformers import convert_gemma4

    towers = ("vision_config", "audio_config")
    return convert_gemma4.convert_backbone_config({key: one for key, one in config.items() if key not in towers})
