"""A drafter of Gemma 4 (`gemma4_assistant`), which vLLM serves beside the model: written by the engine's own process, since the
reference needs none.

What it drafts is the last token again: its layers hardly move the embedding of that, and its head is the model's own. So
continuations can be given of which some drafts are right and some are not, while each layer of it runs as any drafter's would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

EMBEDDING = "model.language_model.embed_tokens.weight"
FAINT = 1e-2
"""What a layer adds to the embedding, as a share of its size."""


def write(checkpoint: Path, directory: Path) -> Path:
    """Write the drafter of a ``checkpoint`` into ``directory``, with a layer of each type that the model has; returns it.

    Raises:
        RuntimeError: no file of the checkpoint has the embedding of the model.
    """
    from safetensors.torch import save_file

    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    text = _text(config["text_config"])
    tensors = {name: tensor.contiguous() for name, tensor in _tensors(text, _embedding(checkpoint))}
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    own = {
        "architectures": ["Gemma4AssistantForCausalLM"],
        "model_type": "gemma4_assistant",
        "backbone_hidden_size": text["hidden_size"],
        "tie_word_embeddings": True,
        "use_ordered_embeddings": False,
        "text_config": text,
    }
    (directory / "config.json").write_text(json.dumps(own, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return directory


def _text(model: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the drafter's layers, which have queries alone: keys are those of the model's layers."""
    types = list(dict.fromkeys(model["layer_types"]))
    plain = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0, "use_double_wide_mlp": False}
    without = {"enable_moe_block": False, "num_experts": None, "top_k_experts": None, "moe_intermediate_size": None}
    return {
        **model,
        **plain,
        **without,
        "layer_types": types,
        "num_hidden_layers": len(types),
        "num_kv_shared_layers": len(types),
        "intermediate_size": model["hidden_size"],
        "final_logit_softcapping": None,
    }


def _embedding(checkpoint: Path) -> torch.Tensor:
    from safetensors import safe_open

    for path in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if EMBEDDING in file.keys():  # noqa: SIM118, it is no dict
                return file.get_tensor(EMBEDDING)
    raise RuntimeError(f"{checkpoint}: no file has {EMBEDDING}, which a drafter shares")


def _tensors(text: dict[str, Any], embedding: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of the drafter's tensors, in the dtype of the model's ``embedding`` (tokens, channels)."""
    hidden, heads, dtype = text["hidden_size"], text["num_attention_heads"], embedding.dtype
    generator = torch.Generator().manual_seed(0)

    def drawn(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=generator) * columns**-0.5).to(dtype)

    same = torch.eye(hidden, dtype=dtype)
    yield "model.embed_tokens.weight", embedding
    yield "pre_projection.weight", torch.cat([same, torch.zeros_like(same)], dim=1)
    yield "post_projection.weight", same
    yield "model.norm.weight", torch.ones(hidden, dtype=dtype)
    for index, kind in enumerate(text["layer_types"]):
        size = text["head_dim"] if kind == "sliding_attention" else text.get("global_head_dim") or text["head_dim"]
        layer = f"model.layers.{index}"
        yield f"{layer}.layer_scalar", torch.ones(1, dtype=dtype)
        yield f"{layer}.self_attn.q_proj.weight", drawn(heads * size, hidden)
        yield f"{layer}.self_attn.o_proj.weight", drawn(hidden, heads * size)
        yield f"{layer}.self_attn.q_norm.weight", torch.ones(size, dtype=dtype)
        for name in ("gate_proj", "up_proj", "down_proj"):
            yield f"{layer}.mlp.{name}.weight", drawn(hidden, hidden)
        for name in ("input_layernorm", "pre_feedforward_layernorm"):
            yield f"{layer}.{name}.weight", torch.ones(hidden, dtype=dtype)
        for name in ("post_attention_layernorm", "post_feedforward_layernorm"):
            yield f"{layer}.{name}.weight", torch.full((hidden,), FAINT, dtype=dtype)
