"""Gemma 3 in vLLM: items as its processor hands them over, and what its model calls the checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from harness.families.base import ServingSide, renamed
from harness.families.gemma3 import inputs
from harness.prompts.prompt import Prompt

PREFIXES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "vision_tower.vision_model.": "model.vision_tower.",
    "multi_modal_projector.": "model.multi_modal_projector.",
}


class Serving(ServingSide):
    fields = {"image": ("pixel_values",)}  # noqa: RUF012  nobody writes to it

    def items(self, prompt: Prompt, together: Sequence[Prompt], config: Any) -> Any:
        """As `gemma3_mm.py`, `_get_mm_fields_config`: the crops of all images one after another, and how many each has."""
        from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

        images = [inputs.pixels(item, config.mm_tokens_per_image) for item in prompt.items]
        counts = torch.tensor([len(crops) for crops in images])
        data = {"pixel_values": torch.cat(images), "num_patches": counts}
        fields = {
            "pixel_values": MultiModalFieldConfig.flat_from_sizes("image", counts),
            "num_patches": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
        }
        return MultiModalKwargsItems.from_hf_inputs(data, fields)

    def pictures(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        (pixels,) = tensors
        return inputs.rows(pixels)

    def name_of(self, name: str) -> str:
        return renamed(name, PREFIXES)
