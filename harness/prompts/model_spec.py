"""The shape of a synthetic checkpoint of a model family."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from harness.errors import UsageError

BUILD = 5
"""Counts the changes to the builders of `harness.families` that change what they write."""

LayerType = Literal["sliding_attention", "full_attention"]
LAYER_TYPES: dict[str, LayerType] = {"s": "sliding_attention", "f": "full_attention"}


@dataclass(frozen=True)
class ModelSpec:
    """What a checkpoint is made from; equal specs give equal checkpoints.

    ``layers`` has one letter a layer, ``s`` sliding and ``f`` full attention; where ``ends_full`` the last must be full, as
    transformers makes it in Gemma 4. Sizes are in channels, ``window`` and ``max_length`` in tokens.
    ``bidirectional`` is `use_bidirectional_attention` ("vision" or None); ``moe`` is (experts,
    experts a token), ``expert`` the width of each (0: half of ``intermediate``); ``per_layer_input`` is
    `hidden_size_per_layer_input`; where ``double_wide`` layers that share keys and values have an MLP of twice the
    width. ``standardize`` is the vision tower's flag of that
    name, ``clipped`` is `use_clipped_linears` of all towers.
    ``image_tokens`` is `mm_tokens_per_image`, the soft tokens of one crop; 0 where an image may have any number.
    ``unified`` is a Gemma 4 without towers, as 12B.
    ``family`` is the name of one of `harness.families.registry.FAMILIES`.
    ``source`` is the directory or hub id of a checkpoint that exists already: then nothing is built. ``dummy_of`` is the model,
    as it was given, whose shape this has with weights that are drawn (`harness.families.dummy`).
    """

    name: str
    window: int = 8
    layers: str = "sf"
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    global_head_dim: int = 128
    global_kv_heads: int = 2
    intermediate: int = 128
    vocab: int = 256
    seed: int = 0
    weight_std: float = 0.3
    bidirectional: str | None = "vision"
    k_eq_v: bool = False
    kv_shared_layers: int = 0
    per_layer_input: int = 0
    moe: tuple[int, int] | None = None
    softcap: float | None = 30.0
    audio: bool = False
    standardize: bool = False
    clipped: bool = False
    max_length: int = 512
    source: str = ""
    family: str = "gemma4"
    ends_full: bool = True
    image_tokens: int = 0
    expert: int = 0
    double_wide: bool = False
    dummy_of: str = ""
    unified: bool = False

    def __post_init__(self) -> None:
        if self.window < 1:
            raise UsageError("window", self.window, "a window is at least 1 token")
        ends = ", the last one f" if self.ends_full else ""
        if not self.layers or set(self.layers) - set(LAYER_TYPES) or (ends and self.layers[-1] != "f"):
            raise UsageError("layers", self.layers, f"letters s (sliding) and f (full){ends}")
        for heads, kv_heads in ((self.heads, self.kv_heads), (self.heads, self.global_kv_heads)):
            if kv_heads < 1 or heads % kv_heads:
                raise UsageError("heads", heads, f"the query heads must be a multiple of the {kv_heads} KV heads")
        if self.global_kv_heads != self.kv_heads and not self.k_eq_v:
            raise UsageError("global_kv_heads", self.global_kv_heads, "may differ from kv_heads only with k_eq_v")
        if self.vocab < 64:
            raise UsageError("vocab", self.vocab, "at least 64: the special tokens take the first 32")

    @property
    def layer_types(self) -> list[LayerType]:
        return [LAYER_TYPES[letter] for letter in self.layers]

    def with_(self, **changes: Any) -> ModelSpec:
        """A changed copy.

        Raises:
            UsageError: a value is not allowed, or this is a checkpoint that exists already.
        """
        if self.source:
            values = ", ".join(map(str, changes.values()))
            raise UsageError(", ".join(changes), values, f"nothing of the checkpoint {self.name} can be changed")
        return replace(self, **changes)

    @property
    def key(self) -> str:
        """A hash of everything but the names, and of the builder."""
        content = {name: value for name, value in asdict(self).items() if name not in ("name", "dummy_of")}
        content |= {"build": BUILD, "dummy": bool(self.dummy_of)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        return asdict(self)
