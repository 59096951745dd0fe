"""Where the official model has each tensor of a checkpoint whose names are transformers'.

Sources: google-deepmind/gemma 4.0.1, `gm/nn/gemma4/{_modules,_moe,_layers}.py`; transformers 5.19, `modeling_gemma4.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.prompts.model_spec import LAYER_TYPES

_LAYER = re.compile(r"layers\.(\d+)\.(.+)\Z")
_TEXT = "model.language_model."


@dataclass(frozen=True)
class Sizes:
    """What of a text configuration decides where tensors go: ``layer_types`` of each layer, heads and head sizes of sliding and
    of full layers, how many ``experts`` there are, channels of per-layer inputs, and from which layer on keys and values are
    shared."""

    layer_types: tuple[str, ...]
    heads: int
    kv_heads: int
    head_dim: int
    global_kv_heads: int
    global_head_dim: int
    k_eq_v: bool
    hidden: int
    experts: int
    per_layer_input: int
    first_shared: int

    @classmethod
    def of(cls, text: Mapping) -> Sizes:
        """From the `text_config` of a config.json."""
        layers = tuple(text["layer_types"])
        return cls(
            layers,
            heads=text["num_attention_heads"],
            kv_heads=text["num_key_value_heads"],
            head_dim=text["head_dim"],
            global_kv_heads=text.get("num_global_key_value_heads") or text["num_key_value_heads"],
            global_head_dim=text.get("global_head_dim") or text["head_dim"],
            k_eq_v=bool(text.get("attention_k_eq_v")),
            hidden=text["hidden_size"],
            experts=text["num_experts"] if text.get("enable_moe_block") else 0,
            per_layer_input=text.get("hidden_size_per_layer_input") or 0,
            first_shared=len(layers) - (text.get("num_kv_shared_layers") or 0),
        )

    def of_layer(self, index: int) -> tuple[int, int, bool]:
        """KV heads, head size, and whether keys are used as values."""
        if self.layer_types[index] == LAYER_TYPES["f"]:
            return self.global_kv_heads, self.global_head_dim, self.k_eq_v
        return self.kv_heads, self.head_dim, False


@dataclass(frozen=True)
class Place:
    """The parameter at ``path`` is the tensor: reshaped to ``split`` (-1 is what is left; none for its own shape), its axes in the
    order of ``axes``, and the ``part`` of a first axis of two where two tensors make one parameter. ``used`` is False where the
    model throws away what it computes with it."""

    path: tuple[str, ...]
    split: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    part: int | None = None
    used: bool = True

    def put(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor as the parameter has it."""
        split = tensor.reshape(self.split) if self.split else tensor
        return split.transpose(self.axes) if self.axes else split

    def taken(self, parameter: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """What `put` was given, of this ``shape``, out of the whole parameter."""
        own = parameter if self.part is None else parameter[self.part]
        return (own.transpose(np.argsort(self.axes)) if self.axes else own).reshape(shape)


def place(name: str, sizes: Sizes) -> Place | None:
    """Where the tensor ``name`` goes; None where the official model has no place for it."""
    if not name.startswith(_TEXT):
        return None
    own = name.removeprefix(_TEXT)
    found = _LAYER.match(own)
    if not found:
        return _whole(own, sizes)
    index, part = int(found[1]), found[2]
    if index >= len(sizes.layer_types):
        return None
    inside = _attention(part, index, sizes) or (_experts(part, sizes) if sizes.experts else None) or _layer(part, sizes)
    if inside is None:
        return None
    return Place((f"layer_{index}", *inside.path), inside.split, inside.axes, inside.part, inside.used)


def _whole(name: str, sizes: Sizes) -> Place | None:
    layers, size = len(sizes.layer_types), sizes.per_layer_input
    return {
        "embed_tokens.weight": Place(("embedder", "input_embedding")),
        "norm.weight": Place(("final_norm", "scale")),
        "embed_tokens_per_layer.weight": Place(("embedder", "per_layer_embeddings"), (-1, layers, size)),
        "per_layer_model_projection.weight": Place(
            ("embedder", "per_layer_model_projection", "w"), (layers, size, -1), (2, 0, 1)
        ),
        "per_layer_projection_norm.weight": Place(("embedder", "per_layer_projection_norm", "scale")),
    }.get(name)


def _attention(part: str, index: int, sizes: Sizes) -> Place | None:
    """Query, key and value weights are (heads * head size, hidden); those of the official model (heads, hidden, head size)."""
    kv_heads, size, k_eq_v = sizes.of_layer(index)
    used = index < sizes.first_shared
    keys = ("k_einsum", "w") if k_eq_v else ("kv_einsum", "w")
    heads_first = (0, 2, 1)
    return {
        "self_attn.q_proj.weight": Place(("attn", "q_einsum", "w"), (sizes.heads, size, -1), heads_first),
        "self_attn.k_proj.weight": Place(
            ("attn", *keys), (kv_heads, size, -1), heads_first, None if k_eq_v else 0, used
        ),
        "self_attn.v_proj.weight": None
        if k_eq_v
        else Place(("attn", *keys), (kv_heads, size, -1), heads_first, 1, used),
        "self_attn.o_proj.weight": Place(("attn", "attn_vec_einsum", "w"), (-1, sizes.heads, size), (1, 2, 0)),
        "self_attn.q_norm.weight": Place(("attn", "query_norm", "scale")),
        "self_attn.k_norm.weight": Place(("attn", "key_norm", "scale"), used=used),
    }.get(part)


def _layer(part: str, sizes: Sizes) -> Place | None:
    dense = "mlp2" if sizes.experts else "mlp"
    return {
        "input_layernorm.weight": Place(("pre_attention_norm", "scale")),
        "post_attention_layernorm.weight": Place(("post_attention_norm", "scale")),
        "pre_feedforward_layernorm.weight": Place(("pre_ffw2_norm" if sizes.experts else "pre_ffw_norm", "scale")),
        "post_feedforward_layernorm.weight": Place(("post_ffw_norm", "scale")),
        "layer_scalar": Place(("skip_scale",)),
        "mlp.gate_proj.weight": Place((dense, "gating_einsum"), part=0),
        "mlp.up_proj.weight": Place((dense, "gating_einsum"), part=1),
        "mlp.down_proj.weight": Place((dense, "linear"), axes=(1, 0)),
        "per_layer_input_gate.weight": Place(("per_layer_input_gate", "w"), axes=(1, 0)),
        "per_layer_projection.weight": Place(("per_layer_projection", "w"), axes=(1, 0)),
        "post_per_layer_input_norm.weight": Place(("post_per_layer_input_norm", "scale")),
    }.get(part)


def _experts(part: str, sizes: Sizes) -> Place | None:
    """Beside the dense branch, whose names are those of `_layer`."""
    return {
        "post_feedforward_layernorm_1.weight": Place(("post_ffw2_norm", "scale")),
        "pre_feedforward_layernorm_2.weight": Place(("pre_ffw_norm", "scale")),
        "post_feedforward_layernorm_2.weight": Place(("post_ffw1_norm", "scale")),
        "router.proj.weight": Place(("mlp", "router_logits", "w"), axes=(1, 0)),
        "router.scale": Place(("mlp", "router_scale")),
        "router.per_expert_scale": Place(("mlp", "per_expert_scale")),
        "experts.gate_up_proj": Place(("mlp", "gating_einsum", "w"), (sizes.experts, 2, -1, sizes.hidden)),
        "experts.down_proj": Place(("mlp", "linear", "w"), axes=(0, 2, 1)),
    }.get(part)
