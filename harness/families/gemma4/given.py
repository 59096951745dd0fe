"""A checkpoint that exists already: a directory or an id of the Hugging Face hub.

What is meant is never guessed. ``DIR`` is a directory; ``ORG/NAME`` is an id whose files are in the hub's cache on this
machine, and nothing is asked of the network for it; ``hf:ORG/NAME`` says that the hub may be asked, unless HF_HUB_OFFLINE is
set. So a directory's name that is mistyped stays on this machine.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.errors import EnvironmentFailure, UsageError
from harness.families.gemma4 import weights
from harness.families.gemma4.config import LARGEST_TOKENIZER, Config, Pictures, Processor, checked, json_of, read
from harness.families.gemma4.presets import CAUSAL, PRESETS, preset
from harness.families.gemma4.prompts import PATCH, POOL
from harness.prompts.model_spec import LAYER_TYPES, ModelSpec

HUB = "hf:"
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*(?<![.-])\Z", re.ASCII)
_LONGEST_ID = 96
"""Characters, as the hub has it."""
LONGEST = 8192
"""Tokens of the longest prompt that is served, so that the KV cache stays small."""
PRESET_PICTURES = Pictures(patch_size=PATCH, pooling_kernel_size=POOL, max_soft_tokens=70)
WAYS = f"a preset ({', '.join(PRESETS)}), a directory with a Gemma 4 checkpoint, or an id of the hub as {HUB}google/gemma-4-31B-it"


def model(name: str) -> ModelSpec:
    """The preset of this name, or what the config.json of a given checkpoint says.

    Raises:
        UsageError: it is neither, not a Gemma 4, or damaged.
        EnvironmentFailure: the hub could not be asked.
    """
    if name.removesuffix(CAUSAL) in PRESETS:
        return preset(name)
    if name.startswith(HUB):
        return _from_hub(name, name.removeprefix(HUB), ask=True)
    directory = Path(name)
    try:
        there = directory.is_dir()
        other = not there and (directory.exists() or directory.is_symlink())
    except (OSError, ValueError):
        raise UsageError("model", name, WAYS) from None
    if there:
        return _from_directory(name, directory)
    if other or not _is_id(name):
        raise UsageError("model", name, WAYS)
    return _from_hub(name, name, ask=False)


def pictures(spec: ModelSpec) -> Pictures | None:
    """How the image processor of a checkpoint cuts pictures; None where it does not say.

    Raises:
        UsageError: its processor_config.json is damaged.
    """
    if not spec.source:
        return PRESET_PICTURES
    path = Path(spec.source) / "processor_config.json"
    return read(spec.name, path, Processor).image_processor if path.exists() else None


def _is_id(name: str) -> bool:
    return len(name) <= _LONGEST_ID and _HUB_ID.match(name) is not None


def _from_directory(name: str, directory: Path) -> ModelSpec:
    if not os.path.lexists(directory / "config.json"):
        raise UsageError("model", name, f"{WAYS}; this directory has no config.json")
    spec = _spec(name, json_of(name, directory / "config.json"), str(directory.absolute()))
    weights.check(name, directory)
    json_of(name, directory / "tokenizer.json", LARGEST_TOKENIZER)
    pictures(spec)
    return spec


def _from_hub(name: str, hub_id: str, *, ask: bool) -> ModelSpec:
    if not _is_id(hub_id):
        raise UsageError(
            "model", name, f"ORG/NAME after {HUB}, each of letters, digits, '-', '_' and '.', 96 characters at most"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise EnvironmentFailure(f"{name}: huggingface_hub is not installed for this interpreter") from None
    offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
    try:
        path = Path(hf_hub_download(hub_id, "config.json", local_files_only=offline or not ask))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        if not ask:
            meant = f"; the hub's cache here has no such id, and {HUB}{name} asks the hub"
            raise UsageError("model", name, f"{WAYS}: there is no such directory{meant}") from None
        why = "HF_HUB_OFFLINE is set, and it is not in the cache" if offline else type(error).__name__
        raise EnvironmentFailure(f"{name}: its config.json could not be had from the hub ({why})") from None
    return _spec(name, json_of(name, path), hub_id)


def asks_hub(name: str) -> bool:
    """Whether the hub may be asked for this checkpoint."""
    return name.startswith(HUB)


def _spec(name: str, data: dict, source: str) -> ModelSpec:
    if data.get("model_type") != "gemma4":
        raise UsageError("model", name, f"a Gemma 4 checkpoint; its config.json says {data.get('model_type')!r}")
    config = checked(name, "config.json", data, Config)
    text = config.text_config
    letters = {kind: letter for letter, kind in LAYER_TYPES.items()}
    return ModelSpec(
        name=name,
        source=source,
        window=text.sliding_window,
        layers="".join(letters[kind] for kind in text.layer_types),
        hidden=text.hidden_size,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        global_head_dim=text.global_head_dim or text.head_dim,
        global_kv_heads=text.num_global_key_value_heads or text.num_key_value_heads,
        intermediate=text.intermediate_size,
        vocab=text.vocab_size,
        bidirectional=text.use_bidirectional_attention,
        k_eq_v=text.attention_k_eq_v,
        kv_shared_layers=text.num_kv_shared_layers or 0,
        per_layer_input=text.hidden_size_per_layer_input or 0,
        moe=text.experts,
        softcap=text.final_logit_softcapping,
        audio=config.audio_config is not None,
        standardize=config.vision_config is not None and config.vision_config.standardize,
        clipped=config.vision_config is not None and config.vision_config.use_clipped_linears,
        max_length=min(text.max_position_embeddings, LONGEST),
    )
