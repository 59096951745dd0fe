"""Gemma 3 in transformers: its classes, and a prompt as its forward takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Gemma3ForConditionalGeneration
from transformers.models.gemma3 import modeling_gemma3

from harness.families.base import ReferenceSide
from harness.families.gemma3 import inputs
from harness.prompts.prompt import Prompt


class Reference(ReferenceSide):
    modeling = modeling_gemma3
    model = Gemma3ForConditionalGeneration
    attention = modeling_gemma3.Gemma3Attention
    decoder_layer = modeling_gemma3.Gemma3DecoderLayer
    types = "token_type_ids"

    def arguments(self, prompts: Sequence[Prompt], config: Any) -> dict[str, torch.Tensor]:
        arguments = {
            "input_ids": torch.tensor([prompt.token_ids for prompt in prompts]),
            "token_type_ids": torch.tensor([prompt.token_types for prompt in prompts]),
        }
        images = [inputs.pixels(item, config.mm_tokens_per_image) for prompt in prompts for item in prompt.items]
        if images:
            arguments["pixel_values"] = torch.cat(images)
        return arguments

    def pictures(self, arguments: dict[str, torch.Tensor]) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        each = [inputs.rows(crop[None]) for crop in arguments.get("pixel_values", ())]
        return [values for values, _ in each], [places for _, places in each]

    def forward(self, model: Any, arguments: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        return model(**arguments, use_cache=False, logits_to_keep=rows).logits

    def prepare(self, model: Any) -> None:
        """Let the vision tower attend by sdpa whatever the rest of the model does: its eager attention rounds its weights to
        float32 in whatever precision the model is (`modeling_siglip.py`), and the truth must not."""
        model.model.vision_tower.config._attn_implementation = "sdpa"
