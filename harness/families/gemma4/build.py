"""Writing a synthetic checkpoint that transformers and vLLM load with their ordinary loaders.

`build` imports transformers, so it is called in a driver's process only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.families import shards
from harness.families.cache import built
from harness.families.content import SINGLE
from harness.families.drawing import stored
from harness.families.gemma4.draw import bounds, draw, drawn, shapes_of_shared, shared
from harness.families.gemma4.prompts import PATCH, POOL
from harness.families.gemma4.tokens import ID_OF_KIND, SPECIAL
from harness.prompts.model_spec import ModelSpec

if TYPE_CHECKING:
    import torch


def build(spec: ModelSpec, cache: Path) -> Path:
    """The checkpoint directory of ``spec`` under ``cache``, written now unless it is there: by this code, with this
    transformers."""
    return built(spec, cache, Path(__file__).parent, partial(_write, spec))


def _write(spec: ModelSpec, directory: Path) -> None:
    write(spec, directory, _model)
    _processor(spec, directory)


def write(
    spec: ModelSpec, directory: Path, make: Callable[[ModelSpec], Any], in_files: Callable[[str], str] = str
) -> None:
    """Write the config.json and the weights of what ``make(spec)`` makes, a model of transformers in float32; ``in_files`` gives
    the name under which published files have a tensor of it."""
    if spec.dummy_of:
        _in_parts(spec, directory, make, in_files)
    else:
        model = make(spec)
        draw(model, spec)
        model.save_pretrained(directory)
        if spec.kv_shared_layers:
            _add(directory / SINGLE, shared(spec))
    _portable(spec, directory / "config.json")


def _model(spec: ModelSpec):
    import torch
    from transformers import Gemma4ForConditionalGeneration

    return Gemma4ForConditionalGeneration(_config(spec)).to(torch.float32).eval()


def _in_parts(
    spec: ModelSpec, directory: Path, of_spec: Callable[[ModelSpec], Any], in_files: Callable[[str], str]
) -> None:
    """Write what may be as large as a published model: no model of it is made, and its tensors are drawn one by one, in bfloat16 as
    the published ones are."""
    import torch

    with torch.device("meta"):
        model = of_spec(spec).to(torch.bfloat16)
    model.config.dtype, model.config.architectures = torch.bfloat16, [type(model).__name__]
    model.config.save_pretrained(directory)
    model.generation_config.save_pretrained(directory)
    shapes = {name: tuple(tensor.shape) for name, tensor in stored(model)} | shapes_of_shared(spec)
    clips = bounds(of_spec, spec)
    called = {in_files(name): name for name in shapes}

    def make(file_name: str) -> torch.Tensor:
        name = called[file_name]
        return clips[name] if name in clips else drawn(name, shapes[name], spec)

    shards.write(directory, {in_files(name): shape for name, shape in shapes.items()}, torch.bfloat16, make)


def _add(path: Path, tensors: dict) -> None:
    from safetensors.torch import load_file, save_file

    save_file({**load_file(path), **tensors}, path, metadata={"format": "pt"})


def _portable(spec: ModelSpec, path: Path) -> None:
    """Write a config.json as every release of transformers from 5.5 to 5.24 reads it: without `per_layer_config` and the vision
    tower's `rope_parameters`, which until 5.14 are unknown; what they say follows from the rest."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["text_config"].pop("per_layer_config", None)
    config["text_config"]["global_head_dim"] = spec.global_head_dim
    config["text_config"]["num_global_key_value_heads"] = spec.global_kv_heads if spec.k_eq_v else None
    config["vision_config"].pop("rope_parameters", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def text_fields(spec: ModelSpec) -> dict[str, Any]:
    """What the text configurations of all members have, by its names there."""
    return {
        "vocab_size": spec.vocab,
        "hidden_size": spec.hidden,
        "intermediate_size": spec.intermediate,
        "num_hidden_layers": len(spec.layers),
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "global_head_dim": spec.global_head_dim,
        "num_global_key_value_heads": spec.global_kv_heads if spec.k_eq_v else None,
        "layer_types": spec.layer_types,
        "sliding_window": spec.window,
        "use_bidirectional_attention": spec.bidirectional,
        "attention_k_eq_v": spec.k_eq_v,
        "final_logit_softcapping": spec.softcap,
        "max_position_embeddings": spec.max_length,
    }


def _config(spec: ModelSpec):
    from transformers import Gemma4AudioConfig, Gemma4Config, Gemma4TextConfig, Gemma4VisionConfig

    moe = {"enable_moe_block": True, "num_experts": spec.moe[0], "top_k_experts": spec.moe[1]} if spec.moe else {}
    if spec.moe:
        moe["moe_intermediate_size"] = spec.expert or spec.intermediate // 2
    text = Gemma4TextConfig(
        **text_fields(spec),
        vocab_size_per_layer_input=spec.vocab,
        num_kv_shared_layers=spec.kv_shared_layers,
        use_double_wide_mlp=spec.double_wide,
        hidden_size_per_layer_input=spec.per_layer_input,
        **moe,
    )
    vision = Gemma4VisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        patch_size=PATCH,
        pooling_kernel_size=POOL,
        position_embedding_size=4096,
        default_output_length=70,
        standardize=spec.standardize,
        use_clipped_linears=spec.clipped,
    )
    audio = None
    if spec.audio:
        audio = Gemma4AudioConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            output_proj_dims=32,
            use_clipped_linears=spec.clipped,
        )
    return Gemma4Config(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        boi_token_id=ID_OF_KIND["boi"],
        eoi_token_id=ID_OF_KIND["eoi"],
        image_token_id=ID_OF_KIND["image"],
        video_token_id=ID_OF_KIND["video"],
        boa_token_id=ID_OF_KIND["boa"],
        eoa_token_index=ID_OF_KIND["eoa"],
        eoa_token_id=ID_OF_KIND["eoa"],
        audio_token_id=ID_OF_KIND["audio"],
        tie_word_embeddings=True,
    )


def tokenizer(spec: ModelSpec):
    """A tokenizer of transformers, whose words are ``w32`` and so on."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = dict(SPECIAL)
    for number in range(len(SPECIAL), spec.vocab):
        vocabulary[f"w{number}"] = number
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "audio_token": "<|audio|>",
            "boa_token": "<|audio>",
            "eoa_token": "<audio|>",
        },
    )


def _processor(spec: ModelSpec, directory: Path) -> None:
    from transformers import (
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessorPil,
        Gemma4Processor,
        Gemma4VideoProcessor,
    )

    sizes = {"patch_size": PATCH, "pooling_kernel_size": POOL}
    Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessorPil(**sizes, max_soft_tokens=70),
        tokenizer=tokenizer(spec),
        video_processor=Gemma4VideoProcessor(**sizes, max_soft_tokens=70),
        chat_template=None,
        image_seq_length=70,
    ).save_pretrained(directory)
