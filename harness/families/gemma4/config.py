"""The config.json of a checkpoint that exists already, read as what it is: somebody else's file.

Every field that the harness or its verdicts depend on has a type and a range, so that a damaged file is named by its field
before anything is loaded. Other fields are left to the two sides, which both read them.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import UsageError
from harness.prompts.model_spec import LAYER_TYPES, LayerType
from harness.text import quoted

Size = Annotated[int, Field(ge=1, le=1 << 20)]
"""A number of channels, heads or tokens: the largest Gemma 4 has a context of 2**18 and a vocabulary of 2**18."""
Count = Annotated[int, Field(ge=0, le=1 << 20)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Token = Annotated[int, Field(ge=0, le=1 << 20)]
LARGEST = 4 << 20
"""Bytes of the largest file of JSON that is read as a configuration; those of Gemma 4 have 5 KiB."""
LARGEST_TOKENIZER = 256 << 20
"""Bytes; Gemma 4's tokenizer.json has 33 MiB."""


class _Part(BaseModel):
    """A part of a configuration; strict, so that "8" and 8.0 and true are no integers."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Text(_Part):
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
    final_logit_softcapping: Positive | None = None
    rms_norm_eps: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-6
    hidden_activation: str = "gelu_pytorch_tanh"
    tie_word_embeddings: bool = True
    rope_parameters: dict[str, Any] | None = None

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
        if self.enable_moe_block and (
            not self.num_experts or not self.top_k_experts or self.top_k_experts > self.num_experts
        ):
            raise ValueError(f"top_k_experts is {self.top_k_experts} of num_experts, {self.num_experts}")
        return self

    @property
    def experts(self) -> tuple[int, int] | None:
        """(experts, experts a token), where there are any."""
        if not self.enable_moe_block:
            return None
        assert self.num_experts and self.top_k_experts, "both are checked above"
        return self.num_experts, self.top_k_experts


class Vision(_Part):
    hidden_size: Size
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)]
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)]
    intermediate_size: Size
    patch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)] = 3
    standardize: bool = False
    use_clipped_linears: bool = False


class Config(_Part):
    text_config: Text
    vision_config: Vision | None = None
    audio_config: dict[str, Any] | None = None
    image_token_id: Token | None = None
    boi_token_id: Token | None = None
    eoi_token_id: Token | None = None


class Pictures(_Part):
    """How the image processor cuts a picture: sides in pixels, pooling in patches, soft tokens at most."""

    patch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)] = 3
    max_soft_tokens: Annotated[int, Field(ge=1, le=1 << 16)] = 280


class Processor(_Part):
    image_processor: Pictures | None = None


T = TypeVar("T", bound=_Part)


def read(name: str, path: Path, schema: type[T], largest: int = LARGEST) -> T:
    """A configuration of the checkpoint ``name``, checked.

    Raises:
        UsageError: the file cannot be read, is no JSON object, or a field is not what it must be.
    """
    return checked(name, path.name, json_of(name, path, largest), schema)


def checked(name: str, file: str, data: dict, schema: type[T]) -> T:
    """``data`` as the schema has it; raises as `read`."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        given = (
            "" if first["type"] == "missing" or isinstance(first["input"], dict) else f", not {quoted(first['input'])}"
        )
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError("model", name, f"its {file}: {field}: {said}{given}") from None


def json_of(name: str, path: Path, largest: int = LARGEST) -> dict:
    """The JSON object in a file of the checkpoint ``name``; raises as `read`."""
    try:
        mode = path.stat()
        if not stat.S_ISREG(mode.st_mode):
            raise UsageError("model", name, f"its {path.name} is not a file")
        if mode.st_size > largest:
            raise UsageError("model", name, f"its {path.name} has {mode.st_size} bytes; at most {largest} are read")
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise UsageError("model", name, f"its {path.name} cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise UsageError("model", name, f"its {path.name} is nested too deeply") from None
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError("model", name, f"its {path.name} is not JSON in UTF-8: {quoted(str(error))}") from None
    if not isinstance(data, dict):
        raise UsageError("model", name, f"its {path.name} is not a JSON object")
    return data


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
