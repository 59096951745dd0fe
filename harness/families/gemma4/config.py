"""The configuration of a Gemma 4 checkpoint that exists already."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.families.reading import Count, Part, Positive, Size, Token
from harness.prompts.model_spec import LAYER_TYPES, LayerType


class Rope(Part):
    rope_type: str = "default"
    rope_theta: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    factor: Positive | None = None


class Text(Part):
    sliding_window: Size
    layer_types: Annotated[list[LayerType], Field(min_length=1, max_length=1024)]
    hidden_size: Size
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)]
    num_key_value_heads: Annotated[int, Field(ge=1, le=1024)]
    num_global_key_value_heads: Annotated[int, Field(ge=1, le=1024)] | None = None
    head_dim: Annotated[int, Field(ge=2, le=4096)]
    global_head_dim: Annotated[int, Field(ge=2, le=4096)] | None = None
    intermediate_size: Size
    vocab_size: Annotated[int, Field(ge=64, le=1 << 24)]
    max_position_embeddings: Annotated[int, Field(ge=2, le=1 << 24)]
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)] | None = None
    use_bidirectional_attention: Literal["vision", "all"] | None = None
    attention_k_eq_v: bool = False
    num_kv_shared_layers: Count | None = None
    hidden_size_per_layer_input: Count | None = None
    enable_moe_block: bool = False
    num_experts: Size | None = None
    top_k_experts: Size | None = None
    moe_intermediate_size: Size | None = None
    use_double_wide_mlp: bool = False
    final_logit_softcapping: Positive | None = None
    rms_norm_eps: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-6
    hidden_activation: Literal["gelu_pytorch_tanh", "gelu", "silu"] = "gelu_pytorch_tanh"
    tie_word_embeddings: bool = True
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: None = None

    @model_validator(mode="after")
    def _agrees(self) -> Text:
        if self.num_hidden_layers not in (None, len(self.layer_types)):
            raise ValueError(
                f"num_hidden_layers is {self.num_hidden_layers}, and layer_types has {len(self.layer_types)}"
            )
        for name in ("num_key_value_heads", "num_global_key_value_heads"):
            heads = getattr(self, name)
            if heads and self.num_attention_heads % heads:
                raise ValueError(f"num_attention_heads, {self.num_attention_heads}, is no multiple of {name}, {heads}")
        if self.layer_types[-1] != LAYER_TYPES["f"]:
            raise ValueError(
                f"layer_types ends with {self.layer_types[-1]}; the last layer of a Gemma 4 has {LAYER_TYPES['f']}"
            )
        if (self.num_kv_shared_layers or 0) >= len(self.layer_types):
            raise ValueError(f"num_kv_shared_layers is {self.num_kv_shared_layers} of {len(self.layer_types)} layers")
        own = len(self.layer_types) - (self.num_kv_shared_layers or 0)
        for kind in dict.fromkeys(self.layer_types[own:]):
            if kind not in self.layer_types[:own]:
                raise ValueError(
                    f"num_kv_shared_layers is {self.num_kv_shared_layers}, and no layer before these has {kind}, "
                    "whose keys one of them would take"
                )
        if self.enable_moe_block and (
            not self.num_experts or not self.top_k_experts or self.top_k_experts > self.num_experts
        ):
            raise ValueError(f"top_k_experts is {self.top_k_experts} of num_experts, {self.num_experts}")
        ropes = self.rope_parameters
        for kind in dict.fromkeys(self.layer_types) if ropes is not None else ():
            if not isinstance(rope := (ropes or {}).get(kind), dict):
                raise ValueError(f"rope_parameters has no object for {kind}, which some layers are")
            Rope.model_validate(rope)
        return self

    @property
    def experts(self) -> tuple[int, int] | None:
        """(experts, experts a token), where there are any."""
        if not self.enable_moe_block:
            return None
        assert self.num_experts and self.top_k_experts, "both are checked above"
        return self.num_experts, self.top_k_experts


class Vision(Part):
    hidden_size: Size
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)]
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)]
    intermediate_size: Size
    patch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)] = 3
    position_embedding_size: Size = 10240
    standardize: bool = False
    use_clipped_linears: bool = False

    @property
    def cut(self) -> tuple[int, int]:
        """The side of a patch in pixels and of a pool in patches."""
        return self.patch_size, self.pooling_kernel_size

    @property
    def places(self) -> int:
        """Of the longest row of soft tokens."""
        return self.position_embedding_size // self.pooling_kernel_size


class Whole(Part):
    """What every member's config has."""

    text_config: Text
    audio_config: dict[str, Any] | None = None
    image_token_id: Token | None = None
    boi_token_id: Token | None = None
    eoi_token_id: Token | None = None
    video_token_id: Token | None = None
    boa_token_id: Token | None = None
    eoa_token_id: Token | None = None
    eoa_token_index: Token | None = None
    audio_token_id: Token | None = None


class Config(Whole):
    vision_config: Vision | None = None


class UnifiedVision(Part):
    """Of a member without towers: a pool of patches is one patch, which becomes one soft token."""

    patch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)] = 3
    mm_posemb_size: Size = 1120
    standardize: Literal[False] = False
    use_clipped_linears: Literal[False] = False

    @property
    def cut(self) -> tuple[int, int]:
        """The side of a patch in pixels and of a pool in patches."""
        return self.patch_size * self.pooling_kernel_size, 1

    @property
    def places(self) -> int:
        """Of the longest row of soft tokens."""
        return self.mm_posemb_size


class UnifiedConfig(Whole):
    vision_config: UnifiedVision | None = None


class Pictures(Part):
    """How the image processor cuts a picture: sides in pixels, pooling in patches, soft tokens at most."""

    patch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)] = 3
    max_soft_tokens: Annotated[int, Field(ge=1, le=1 << 16)] = 280


class Sounds(Part):
    sampling_rate: Annotated[int, Field(ge=1000, le=1 << 20)] = 16_000
    dither: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 0.0


class Processor(Part):
    image_processor: Pictures | None = None
    feature_extractor: Sounds | None = None
