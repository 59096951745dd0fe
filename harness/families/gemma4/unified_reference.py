"""Gemma 4 12B in transformers, which has classes of its own for the model without towers."""

from __future__ import annotations

from typing import Any

from transformers import Gemma4UnifiedForConditionalGeneration
from transformers.models.gemma4_unified import modeling_gemma4_unified

from harness.families.gemma4.reference import Reference


class UnifiedReference(Reference):
    modeling = modeling_gemma4_unified
    model = Gemma4UnifiedForConditionalGeneration
    attention = modeling_gemma4_unified.Gemma4UnifiedTextAttention
    decoder_layer = modeling_gemma4_unified.Gemma4UnifiedTextDecoderLayer
    router = None
    of_config = {  # noqa: RUF012  nobody writes to it
        "vision_config": ("embed_vision.",),
        "audio_config": ("embed_audio.",),
    }

    def prepare(self, model: Any) -> None:
        """There is no tower that attends."""
