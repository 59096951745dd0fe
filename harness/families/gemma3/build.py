"""Writing a synthetic Gemma 3 that transformers and vLLM load with their ordinary loaders.

`build` imports transformers, so it is called in a driver's process only.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness.families.cache import built
from harness.families.gemma3.draw import draw
from harness.families.gemma3.prompts import PATCH, side
from harness.families.gemma3.tokens import BOI, EOI, ID_OF_KIND, IMAGE, NEWLINES, SPECIAL
from harness.prompts.model_spec import ModelSpec

TOWER, PUBLISHED = "vision_tower.", "vision_tower.vision_model."
"""How transformers 5.19 saves a vision tower that it did not load, and how published checkpoints and vLLM have it
(docs/findings/transformers-gemma3-vision-names.md)."""


def build(spec: ModelSpec, cache: Path) -> Path:
    """The checkpoint directory of ``spec`` under ``cache``, written now unless it is there: by this code, with this
    transformers."""
    return built(spec, cache, Path(__file__).parent, partial(_write, spec))


def _write(spec: ModelSpec, directory: Path) -> None:
    import torch
    from transformers import Gemma3ForConditionalGeneration

    model = Gemma3ForConditionalGeneration(_config(spec)).to(torch.float32).eval()
    draw(model, spec)
    model.save_pretrained(directory)
    _name_as_published(directory / "model.safetensors")
    _tokenizer_and_processor(spec, directory)


def _name_as_published(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    def name(key: str) -> str:
        return key if PUBLISHED in key else key.replace(TOWER, PUBLISHED)

    save_file({name(key): tensor for key, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def _config(spec: ModelSpec):
    from transformers import Gemma3Config, Gemma3TextConfig, SiglipVisionConfig

    text = Gemma3TextConfig(
        vocab_size=spec.vocab,
        hidden_size=spec.hidden,
        intermediate_size=spec.intermediate,
        num_hidden_layers=len(spec.layers),
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        query_pre_attn_scalar=spec.head_dim,
        layer_types=spec.layer_types,
        sliding_window=spec.window,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        },
        final_logit_softcapping=spec.softcap,
        max_position_embeddings=spec.max_length,
    )
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=side(spec.image_tokens),
        patch_size=PATCH,
        vision_use_head=False,
    )
    return Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=spec.image_tokens,
        boi_token_index=ID_OF_KIND["boi"],
        eoi_token_index=ID_OF_KIND["eoi"],
        image_token_index=ID_OF_KIND["image"],
        tie_word_embeddings=True,
    )


def _tokenizer_and_processor(spec: ModelSpec, directory: Path) -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import Gemma3ImageProcessorPil, Gemma3Processor, PreTrainedTokenizerFast

    vocabulary = SPECIAL | NEWLINES
    vocabulary |= {f"w{number}": number for number in range(len(vocabulary), spec.vocab)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n{1,4}"), "isolated"),
            pre_tokenizers.Split(Regex("[^\\S\n]+"), "removed"),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": IMAGE, "boi_token": BOI, "eoi_token": EOI},
    )
    pixels = side(spec.image_tokens)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": pixels, "width": pixels}),
        tokenizer=tokenizer,
        image_seq_length=spec.image_tokens,
    ).save_pretrained(directory)
