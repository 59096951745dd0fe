"""A checkpoint that exists already: a directory or an id of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.errors import EnvironmentFailure, UsageError
from harness.families.gemma4.presets import PRESETS
from harness.prompts.model_spec import LAYER_TYPES, ModelSpec

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+\Z")
LONGEST = 8192
"""Tokens of the longest prompt that is served, so that the KV cache stays small."""


def model(name: str) -> ModelSpec:
    """The preset of this name, or what the config.json of a given checkpoint says.

    Raises:
        UsageError: it is neither, or not a Gemma 4.
        EnvironmentFailure: the hub could not be asked.
    """
    if name in PRESETS:
        return PRESETS[name]
    directory = Path(name)
    if (directory / "config.json").is_file():
        return _spec(name, json.loads((directory / "config.json").read_text(encoding="utf-8")), str(directory.absolute()))
    if directory.exists() or not _HUB_ID.match(name):
        allowed = f"one of {', '.join(PRESETS)}, a directory with a config.json, or a hub id such as google/gemma-4-31B-it"
        raise UsageError("model", name, allowed)
    return _spec(name, _from_hub(name), name)


def _from_hub(name: str) -> dict:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return json.loads(Path(hf_hub_download(name, "config.json")).read_text(encoding="utf-8"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise EnvironmentFailure(f"{name}: its config.json could not be had from the hub ({type(error).__name__})") from None


def _spec(name: str, config: dict, source: str) -> ModelSpec:
    if config.get("model_type") != "gemma4":
        raise UsageError("model", name, f"a Gemma 4 checkpoint; its config.json says {config.get('model_type')!r}")
    text = config["text_config"]
    letters = {kind: letter for letter, kind in LAYER_TYPES.items()}
    kv_heads = text["num_key_value_heads"]
    return ModelSpec(
        name=name,
        source=source,
        window=text["sliding_window"],
        layers="".join(letters[kind] for kind in text["layer_types"]),
        hidden=text["hidden_size"],
        heads=text["num_attention_heads"],
        kv_heads=kv_heads,
        head_dim=text["head_dim"],
        global_head_dim=text.get("global_head_dim") or text["head_dim"],
        global_kv_heads=text.get("num_global_key_value_heads") or kv_heads,
        intermediate=text["intermediate_size"],
        vocab=text["vocab_size"],
        bidirectional=text.get("use_bidirectional_attention"),
        k_eq_v=bool(text.get("attention_k_eq_v")),
        kv_shared_layers=text.get("num_kv_shared_layers") or 0,
        per_layer_input=text.get("hidden_size_per_layer_input") or 0,
        moe=(text["num_experts"], text["top_k_experts"]) if text.get("enable_moe_block") else None,
        softcap=text.get("final_logit_softcapping"),
        audio=config.get("audio_config") is not None,
        standardize=bool((config.get("vision_config") or {}).get("standardize")),
        clipped=bool((config.get("vision_config") or {}).get("use_clipped_linears")),
        max_length=min(text["max_position_embeddings"], LONGEST),
    )
