"""From a checkpoint's config.json to the official model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.prompts.model_spec import LAYER_TYPES
from harness.references.tensors import check_fields, refused

NAME = "official"
MODEL_TYPES = ("gemma4", "gemma4_unified")
"""The second is 12B, of which `gemma` has no class; its decoder takes the numbers of this one too."""
FULL = LAYER_TYPES["f"]
ONLY = {
    "rms_norm_eps": (1e-6,),
    "hidden_activation": ("gelu_pytorch_tanh",),
    "attention_bias": (False,),
    "tie_word_embeddings": (True,),
    "use_bidirectional_attention": (None, "vision"),
}
"""Fields of which the official model knows these values only: it has no option for them."""
ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
}
"""What transformers takes where a config.json says nothing (`configuration_gemma4.py`)."""


def fields(text: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `gm.nn.gemma4._config.TransformerConfig` for the `text_config` of a config.json. Of ``attention_types`` the
    names are given, of ``kv_cache_sharing_config`` the arguments.

    Raises:
        UsageError: the official model cannot be configured like that; the line names the field.
    """
    check_fields(NAME, text, ONLY)
    if text.get("vocab_size_per_layer_input", text["vocab_size"]) != text["vocab_size"] and _per_layer(text):
        raise refused(NAME, "vocab_size_per_layer_input", text["vocab_size_per_layer_input"], str(text["vocab_size"]))
    rope = {kind: {**usual, **((text.get("rope_parameters") or {}).get(kind) or {})} for kind, usual in ROPE.items()}
    for kind, one in rope.items():
        if one["rope_type"] != (known := ROPE[kind]["rope_type"]):
            raise refused(NAME, f"rope_parameters.{kind}.rope_type", one["rope_type"], str(known))
    experts = bool(text.get("enable_moe_block"))
    return {
        "num_embed": text["vocab_size"],
        "embed_dim": text["hidden_size"],
        "hidden_dim": text["intermediate_size"],
        "num_heads": text["num_attention_heads"],
        "head_dim": text["head_dim"],
        "num_kv_heads": text["num_key_value_heads"],
        "final_logit_softcap": text.get("final_logit_softcapping"),
        "use_post_attn_norm": True,
        "use_post_ffw_norm": True,
        "attention_types": ["GLOBAL" if kind == FULL else "LOCAL_SLIDING" for kind in text["layer_types"]],
        "sliding_window_size": text["sliding_window"],
        "num_global_kv_heads": text.get("num_global_key_value_heads") or text["num_key_value_heads"],
        "global_key_size": text.get("global_head_dim") or text["head_dim"],
        "k_eq_v_global": bool(text.get("attention_k_eq_v")),
        "local_rope_proportion": 1.0,
        "global_rope_proportion": rope[FULL]["partial_rotary_factor"],
        "local_base_frequency": rope["sliding_attention"]["rope_theta"],
        "global_base_frequency": rope[FULL]["rope_theta"],
        "per_layer_input_dim": _per_layer(text),
        "kv_cache_sharing_config": _shared(text),
        "override_kv_shared_ffw_hidden": 2 * text["intermediate_size"] if text.get("use_double_wide_mlp") else None,
        "use_bidirectional_attention": text.get("use_bidirectional_attention"),
        "enable_moe": experts,
        **(
            {
                "num_experts": text["num_experts"],
                "expert_dim": text["moe_intermediate_size"],
                "top_k_experts": text["top_k_experts"],
                "moe_dense_hidden_dim": text["intermediate_size"],
            }
            if experts
            else {}
        ),
    }


def _per_layer(text: Mapping[str, Any]) -> int:
    return text.get("hidden_size_per_layer_input") or 0


def _shared(text: Mapping[str, Any]) -> dict[str, Any] | None:
    """The official model takes shared keys and values from the last two layers that share none, a full one and before it a
    sliding one (`_config.py`, `create_kv_cache_sharing_patterns`); transformers from the last of each type."""
    shared = text.get("num_kv_shared_layers") or 0
    if not shared:
        return None
    kinds = text["layer_types"]
    own = len(kinds) - shared
    lenders = {kind: max((i for i in range(own) if kinds[i] == kind), default=-1) for kind in set(kinds[own:])}
    expected = {kind: own - 1 if kind == FULL else own - 2 for kind in lenders}
    fraction = shared / len(kinds)
    if lenders != expected or int(len(kinds) - fraction * len(kinds)) != own:
        raise refused(NAME, "num_kv_shared_layers", shared, "one that leaves layers ending in a sliding and a full one")
    return {"frac_shared_layers": fraction, "share_global": True, "share_local": True}
