"""Writing a synthetic Gemma 4 without towers, as 12B is.

`build` imports transformers, so it is called in a driver's process only.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness.families.base import renamed
from harness.families.cache import built
from harness.families.gemma4.build import text_fields, tokenizer, write
from harness.families.gemma4.prompts import PATCH, POOL
from harness.families.gemma4.tokens import ID_OF_KIND
from harness.prompts.model_spec import ModelSpec

IN_FILES = {
    "model.embed_vision.multimodal_embedder.": "model.embed_vision.",
    "model.embed_vision.": "model.vision_embedder.",
}
"""What published files call modules that transformers' model calls otherwise (`conversion_mapping.py`)."""
WIDTH = 32
"""Channels of an embedded patch."""
PLACES = 1120
"""Rows of the table of places, as many as the largest budget of soft tokens."""
SOFT_TOKENS = 70
"""The most of an image; vLLM does not start without this field (docs/findings/vllm-gemma4-unified-soft-tokens.md)."""


def build(spec: ModelSpec, cache: Path) -> Path:
    """The checkpoint directory of ``spec`` under ``cache``, written now unless it is there: by this code, with this
    transformers."""
    return built(spec, cache, Path(__file__).parent, partial(_write, spec))


def _write(spec: ModelSpec, directory: Path) -> None:
    write(spec, directory, _model, partial(renamed, prefixes=IN_FILES))
    _processor(spec, directory)


def _model(spec: ModelSpec):
    import torch
    from transformers import Gemma4UnifiedForConditionalGeneration

    return Gemma4UnifiedForConditionalGeneration(_config(spec)).to(torch.float32).eval()


def _processor(spec: ModelSpec, directory: Path) -> None:
    from transformers import (
        Gemma4UnifiedAudioFeatureExtractor,
        Gemma4UnifiedImageProcessor,
        Gemma4UnifiedProcessor,
        Gemma4UnifiedVideoProcessor,
    )

    sizes = {"patch_size": PATCH, "pooling_kernel_size": POOL, "max_soft_tokens": SOFT_TOKENS}
    Gemma4UnifiedProcessor(
        feature_extractor=Gemma4UnifiedAudioFeatureExtractor(),
        image_processor=Gemma4UnifiedImageProcessor(**sizes),
        tokenizer=tokenizer(spec),
        video_processor=Gemma4UnifiedVideoProcessor(**sizes),
        chat_template=None,
        image_seq_length=SOFT_TOKENS,
    ).save_pretrained(directory)


def _config(spec: ModelSpec):
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedTextConfig, Gemma4UnifiedVisionConfig

    vision = Gemma4UnifiedVisionConfig(
        patch_size=PATCH,
        pooling_kernel_size=POOL,
        mm_embed_dim=WIDTH,
        mm_posemb_size=PLACES,
        output_proj_dims=WIDTH,
        num_soft_tokens=SOFT_TOKENS,
    )
    ids = {f"{kind}_token_id": number for kind, number in ID_OF_KIND.items() if kind != "eoa"}
    return Gemma4UnifiedConfig(
        text_config=Gemma4UnifiedTextConfig(**text_fields(spec)),
        vision_config=vision,
        audio_config=None,
        eoa_token_index=ID_OF_KIND["eoa"],
        **ids,
    )
