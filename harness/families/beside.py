"""What lies beside config.json and the weights of a checkpoint that exists already: its tokenizer, its processors, what generation
does, and its chat templates. Both sides read them at their start, so what would hold one up or make it fail is told before.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from harness.errors import UsageError
from harness.families.content import SUFFIXES
from harness.families.reading import LARGEST, LARGEST_TOKENIZER, Part, checked, file_of, json_of

LONGEST_TEMPLATE = 1 << 20
"""Bytes of the longest chat template; Gemma 4's has 16 KiB."""
LARGEST_MEAN = 1000
"""Of the pixels of a channel, which have values up to 255."""
TOKENS = 1 << 24
"""As many as a vocabulary may have."""
CODE = "auto_map"
"""The field of any of these files by which transformers and vLLM find code that comes with a checkpoint."""


def _tokens(value: object) -> object:
    several = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token) is int and 0 <= token < TOKENS for token in several):
        raise ValueError("the number of a token, or a list of such")
    return value


def _several(value: object) -> object:
    if value is not None and not isinstance(value, list):
        raise ValueError("a list of the numbers of tokens")
    return _tokens(value)


def _named(value: object) -> object:
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w{0,127}", value, re.ASCII)):
        raise ValueError("the name of a class")
    return value


def _template(value: object) -> object:
    """A template, or several: each has a name, in either form that transformers has had."""
    every: list[Any] = [value]
    if isinstance(value, dict):
        every = [*value.values()]
    elif isinstance(value, list):
        every = [one.get("template") if isinstance(one, dict) else one for one in value]
    if value is None:
        return value
    if not all(isinstance(one, str) for one in every):
        raise ValueError("text, or several with their names")
    if sum(map(len, every)) > LONGEST_TEMPLATE:
        raise ValueError(f"at most {LONGEST_TEMPLATE} characters")
    return value


def _word(value: object) -> object:
    """A special token: text, or an object that has it as its content."""
    said = value.get("content") if isinstance(value, dict) else value
    if value is not None and not isinstance(said, str):
        raise ValueError("text, or an object that has it as its content")
    return value


def _vocabulary(value: object) -> object:
    if value is not None and not isinstance(value, (dict, list)):
        raise ValueError("an object of tokens, or a list of them")
    return value


def _channels(value: object) -> object:
    every: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(one) in (int, float) and abs(one) <= LARGEST_MEAN for one in every):
        raise ValueError(f"a number for each channel, -{LARGEST_MEAN} to {LARGEST_MEAN}")
    return value


Tokens = Annotated[Any, BeforeValidator(_tokens)]
TokenList = Annotated[Any, BeforeValidator(_several)]
Named = Annotated[Any, BeforeValidator(_named)]
Template = Annotated[Any, BeforeValidator(_template)]
Word = Annotated[Any, BeforeValidator(_word)]
Vocabulary = Annotated[Any, BeforeValidator(_vocabulary)]
Channels = Annotated[Any, BeforeValidator(_channels)]
Amount = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Samples = Annotated[int, Field(ge=1, le=1 << 20)]


class Generation(Part):
    bos_token_id: Tokens = None
    eos_token_id: Tokens = None
    pad_token_id: Tokens = None
    suppress_tokens: TokenList = None
    begin_suppress_tokens: Tokens = None
    forced_bos_token_id: Tokens = None
    forced_eos_token_id: Tokens = None
    do_sample: bool | None = None
    temperature: Amount | None = None
    top_p: Amount | None = None
    top_k: Annotated[int, Field(ge=-1, le=TOKENS)] | None = None
    min_p: Amount | None = None
    repetition_penalty: Amount | None = None
    max_length: Annotated[int, Field(ge=0, le=1 << 40)] | None = None
    max_new_tokens: Annotated[int, Field(ge=0, le=1 << 40)] | None = None


class Words(Part):
    """The special tokens of a tokenizer_config.json or a special_tokens_map.json."""

    bos_token: Word = None
    eos_token: Word = None
    pad_token: Word = None
    unk_token: Word = None
    boi_token: Word = None
    eoi_token: Word = None
    image_token: Word = None


class TokenizerConfig(Words):
    tokenizer_class: Named = None
    processor_class: Named = None
    chat_template: Template = None
    model_max_length: float | None = None
    add_bos_token: bool | None = None
    added_tokens_decoder: dict[str, Any] | None = None


class AddedToken(Part):
    id: Annotated[int, Field(ge=0, lt=TOKENS)]
    content: str


class TokenizerModel(Part):
    type: Named = None
    vocab: Vocabulary = None


class Tokenizer(Part):
    model: TokenizerModel | None = None
    added_tokens: list[AddedToken] | None = None


PIXELS = 1 << 24
"""Of the largest picture that an image processor may make of another one; Gemma 4's make at most 2.6 million."""


class Images(Part):
    """An image or video processor."""

    image_processor_type: Named = None
    video_processor_type: Named = None
    patch_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    pooling_kernel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    max_soft_tokens: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    num_frames: Annotated[int, Field(ge=1, le=1 << 12)] | None = None
    do_resize: bool | None = None
    do_rescale: bool | None = None
    do_normalize: bool | None = None
    do_convert_rgb: bool | None = None
    rescale_factor: Amount | None = None
    image_mean: Channels = None
    image_std: Channels = None
    image_seq_length: Samples | None = None

    @model_validator(mode="after")
    def _makes_no_huge_picture(self) -> Images:
        side = (self.patch_size or 0) * (self.pooling_kernel_size or 0)
        if (pixels := side * side * (self.max_soft_tokens or 0)) > PIXELS:
            raise ValueError(f"max_soft_tokens of patch_size and pooling_kernel_size make pictures of {pixels} pixels")
        return self


class Sound(Part):
    feature_extractor_type: Named = None
    feature_size: Samples | None = None
    sampling_rate: Samples | None = None
    fft_length: Samples | None = None
    frame_length: Samples | None = None
    hop_length: Samples | None = None


class Processor(Part):
    processor_class: Named = None
    chat_template: Template = None
    image_seq_length: Samples | None = None
    image_processor: Images | None = None
    video_processor: Images | None = None
    feature_extractor: Sound | None = None


class Templates(Part):
    chat_template: Template = None


GENERATION = "generation_config.json"
SCHEMAS: Mapping[str, tuple[type[Part], int]] = {
    GENERATION: (Generation, LARGEST),
    "tokenizer.json": (Tokenizer, LARGEST_TOKENIZER),
    "tokenizer_config.json": (TokenizerConfig, LARGEST_TOKENIZER),
    "special_tokens_map.json": (Words, LARGEST),
    "added_tokens.json": (Part, LARGEST_TOKENIZER),
    "processor_config.json": (Processor, LARGEST),
    "preprocessor_config.json": (Images, LARGEST),
    "video_preprocessor_config.json": (Images, LARGEST),
    "chat_template.json": (Templates, LARGEST),
}
"""By the names of the files that either side reads, what is in them and how large they may be."""
QUANTIZED = "hf_quant_config.json"
"""By its mere presence vLLM serves weights as ModelOpt quantizes them; transformers does not know the file."""
NEEDED = ("tokenizer.json",)
CONFIG = "config.json"
TEMPLATE = "chat_template.jinja"
TEMPLATES = "additional_chat_templates"
"""The folder of further chat templates."""


QUANTIZATIONS = ("quantization_config", "compression_config")


def check_unquantized(name: str, source: str) -> None:
    """Raise UsageError where a file of a checkpoint says that its weights, or those of a part of it, are quantized."""
    unquantized = "weights that are not quantized: the reference has no other ones that could be compared"
    config = json_of(name, file_of(source, CONFIG))
    for where, part in _parts(config).items():
        for field in QUANTIZATIONS:
            if part.get(field):
                raise UsageError("model", name, f"its {CONFIG}: {where}{field}: {unquantized}")
    if file_of(source, QUANTIZED).exists():
        raise UsageError("model", name, f"its {QUANTIZED}: {unquantized}")


def check(name: str, directory: Path) -> None:
    """Look at the files that lie beside the weights of the checkpoint ``name``. No line of their code or templates is run.

    Raises:
        UsageError: one is no file, is damaged, asks for code that comes with it, or one that is needed is missing.
    """
    every = sorted([*directory.iterdir(), *directory.glob(f"{TEMPLATES}/*")])
    there = {str(path.relative_to(directory)): path for path in every if path.suffix in SUFFIXES}
    for file, path in there.items():
        _check_file(name, file, path)
    _check_code(name, CONFIG, json_of(name, directory / CONFIG))
    for file, (schema, largest) in SCHEMAS.items():
        if file in there or file in NEEDED:
            data = json_of(name, directory / file, largest)
            _check_code(name, file, data)
            checked(name, file, data, schema)
    for file, path in there.items():
        if path.suffix == ".jinja":
            _check_template(name, file, path)


def check_suppressed(field: str, given: str, directory: str, vocabulary: int) -> None:
    """Look at the tokens that the `GENERATION` of a checkpoint or a directory suppresses, where it has one: vLLM fails at the first
    request where the ``vocabulary`` has no token of this number.

    Raises:
        UsageError: it suppresses such a token, or what is none; the error calls the directory ``field`` ``given``.
    """
    path = file_of(directory, GENERATION)
    if not path.exists():
        return
    tokens = json_of(given, path).get("suppress_tokens")
    try:
        _several(tokens)
    except ValueError as error:
        raise UsageError(field, given, f"its {GENERATION}: suppress_tokens: {error}") from None
    if out := [token for token in tokens or () if token >= vocabulary]:
        allowed = f"tokens below {vocabulary}, the size of the vocabulary, not {out[0]}"
        raise UsageError(field, given, f"its {GENERATION}: suppress_tokens: {allowed}")


def has_template(source: str) -> bool:
    """Whether the checkpoint has a chat template, in any of the files that it may be in."""
    if file_of(source, TEMPLATE).exists():
        return True
    files = [
        (file, file_of(source, file)) for file, (schema, _) in SCHEMAS.items() if "chat_template" in schema.model_fields
    ]
    return any(json_of(source, path, LARGEST_TOKENIZER).get("chat_template") for _, path in files if path.exists())


def _check_file(name: str, file: str, path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError("model", name, f"its {file} cannot be read: {error.strerror or error}") from None
    if not stat.S_ISREG(mode):
        raise UsageError("model", name, f"its {file} is not a file")


def _check_code(name: str, file: str, data: dict) -> None:
    for where, part in _parts(data).items():
        if part.get(CODE):
            asks = "it names code that comes with the checkpoint, and none of that is run; take it out"
            raise UsageError("model", name, f"its {file}: {where}{CODE}: {asks}")


def _parts(data: dict) -> dict[str, dict]:
    """The object and those in it, each by what stands before the names of its fields."""
    return {"": data, **{f"{key}.": part for key, part in data.items() if isinstance(part, dict)}}


def _check_template(name: str, file: str, path: Path) -> None:
    try:
        size = path.stat().st_size
        if size > LONGEST_TEMPLATE:
            raise UsageError("model", name, f"its {file} has {size} bytes; at most {LONGEST_TEMPLATE} are read")
        path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError("model", name, f"its {file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError("model", name, f"its {file} is not text in UTF-8") from None
