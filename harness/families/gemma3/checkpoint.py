"""What the files of a Gemma 3 checkpoint that exists already say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import Field, model_validator

from harness.errors import UsageError
from harness.families.drawn import words_of
from harness.families.gemma3.tokens import FIRST_WORD
from harness.families.limits import LONGEST
from harness.families.reading import Part, Positive, Size, Token, checked, file_of, read
from harness.prompts.model_spec import LAYER_TYPES, LayerType, ModelSpec


class Text(Part):
    """Published files leave out what transformers and vLLM have the same defaults for (`configuration_gemma3.py`)."""

    hidden_size: Size
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)]
    intermediate_size: Size
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 8
    num_key_value_heads: Annotated[int, Field(ge=1, le=1024)] = 4
    head_dim: Annotated[int, Field(ge=2, le=4096)] = 256
    vocab_size: Annotated[int, Field(ge=64, le=1 << 24)] = 262_208
    max_position_embeddings: Annotated[int, Field(ge=2, le=1 << 24)] = 131_072
    sliding_window: Size = 4096
    sliding_window_pattern: Annotated[int, Field(ge=1, le=1024)] = 6
    layer_types: Annotated[list[LayerType], Field(min_length=1, max_length=1024)] | None = None
    final_logit_softcapping: Positive | None = None
    use_bidirectional_attention: bool | None = False

    @model_validator(mode="after")
    def _agrees(self) -> Text:
        if self.num_attention_heads % self.num_key_value_heads:
            heads = f"{self.num_attention_heads}, is no multiple of num_key_value_heads, {self.num_key_value_heads}"
            raise ValueError(f"num_attention_heads, {heads}")
        if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(f"num_hidden_layers is {self.num_hidden_layers} of {len(self.layer_types)} layer_types")
        if self.use_bidirectional_attention:
            raise ValueError("use_bidirectional_attention is true: such a model encodes text and generates none")
        return self

    @property
    def layers(self) -> str:
        """A letter a layer, as `ModelSpec.layers` has them."""
        letters = {kind: letter for letter, kind in LAYER_TYPES.items()}
        if self.layer_types is not None:
            return "".join(letters[kind] for kind in self.layer_types)
        pattern = self.sliding_window_pattern
        return "".join("f" if index % pattern == 0 else "s" for index in range(1, self.num_hidden_layers + 1))


class Vision(Part):
    image_size: Annotated[int, Field(ge=1, le=1 << 14)] = 224


class Config(Part):
    text_config: Text
    vision_config: Vision = Vision()
    mm_tokens_per_image: Size = 256
    boi_token_index: Token = 255_999
    eoi_token_index: Token = 256_000
    image_token_index: Token = 262_144

    @model_validator(mode="after")
    def _is_square(self) -> Config:
        if math.isqrt(self.mm_tokens_per_image) ** 2 != self.mm_tokens_per_image:
            raise ValueError(f"mm_tokens_per_image, {self.mm_tokens_per_image}, is no square number")
        return self


@dataclass(frozen=True)
class Takes:
    """``ids`` of special tokens by their kinds, ``words`` (first, end) that are none of them, and pixels along a ``side`` of a
    crop."""

    ids: Mapping[str, int]
    words: tuple[int, int]
    side: int


@lru_cache(maxsize=8)
def takes(spec: ModelSpec) -> Takes:
    """What a layout's prompt is made of for the checkpoint of a spec.

    Raises:
        UsageError: its config.json is damaged, or has ids that are not in its vocabulary.
    """
    config = read(spec.name, file_of(spec.source, "config.json"), Config)
    ids = {kind: getattr(config, f"{kind}_token_index") for kind in ("boi", "eoi", "image")}
    first, end = words_of(spec.vocab, ids, FIRST_WORD)
    if max(ids.values()) >= spec.vocab or end <= first:
        given = ", ".join(f"{kind} {number}" for kind, number in ids.items())
        raise UsageError(
            "model", spec.name, f"ids below {spec.vocab} with words between them; its config.json has {given}"
        )
    return Takes(ids, (first, end), config.vision_config.image_size)


def spec_of(name: str, data: dict, source: str) -> ModelSpec:
    """What the config.json of a checkpoint says; raises UsageError where it is damaged."""
    config = checked(name, "config.json", data, Config)
    text = config.text_config
    return ModelSpec(
        name=name,
        family="gemma3",
        source=source,
        window=text.sliding_window,
        layers=text.layers,
        ends_full=False,
        hidden=text.hidden_size,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        global_head_dim=text.head_dim,
        global_kv_heads=text.num_key_value_heads,
        intermediate=text.intermediate_size,
        vocab=text.vocab_size,
        softcap=text.final_logit_softcapping,
        image_tokens=config.mm_tokens_per_image,
        max_length=min(text.max_position_embeddings, LONGEST),
    )
