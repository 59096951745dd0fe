"""Gemma 4 12B in transformers, which has classes of its own for the model without towers.

`Gemma4UnifiedModel.forward` lays the blocks of images over full layers and over the window. From 5.13.0 on the class has a
`create_masks_for_generate` that does neither, as that of the other Gemma 4 models, whose forwards have the same masks
(docs/findings/transformers-unified-forward.md). The reference is given those: they are handed to the forward as
`GenerationMixin.prepare_inputs_for_generation` hands masks to it where a cache can be compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Gemma4UnifiedForConditionalGeneration
from transformers.models.gemma4_unified import modeling_gemma4_unified

from harness.families.gemma4.reference import Reference

GIVEN = (
    "transformers' model is given the masks of its class's `create_masks_for_generate`, since its plain forward lays images over "
    "full layers too (docs/findings/transformers-unified-forward.md)"
)


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

    def forward(self, model: Any, arguments: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        with self.masked(model):
            return super().forward(model, arguments, rows)

    @contextmanager
    def masked(self, model: Any) -> Iterator[None]:
        if not self._masks_apart(model):
            yield
            return
        hook = model.register_forward_pre_hook(self._with_masks, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def note(self, model: Any, arguments: dict[str, torch.Tensor]) -> str:
        return GIVEN if self._masks_apart(model) and self._blocks(arguments[self.types]) else ""

    def _masks_apart(self, model: Any) -> bool:
        """This release has a function of its own for the masks of images, and the model asks for it."""
        asked = model.config.get_text_config().use_bidirectional_attention == "vision"
        return asked and hasattr(self.modeling, "create_masks_for_vision_model")

    def _blocks(self, types: torch.Tensor) -> bool:
        return bool(((types == 1) | (types == 2)).any())

    def _with_masks(
        self, model: Any, args: Sequence[Any], given: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]] | None:
        """The arguments of the forward with masks, but in steps of decoding, which have no token types."""
        types, tokens = given.get(self.types), given["input_ids"]
        if types is None or isinstance(given.get("attention_mask"), dict):
            return None
        sized = torch.empty((*tokens.shape, 0), dtype=model.dtype, device=tokens.device)
        cache = given.get("cache", given.get("past_key_values"))  # its name from 5.24 on, and until then
        masks = model.create_masks_for_generate(
            model.config, sized, given.get("attention_mask"), cache, given.get("position_ids"), mm_token_type_ids=types
        )
        return args, {**given, "attention_mask": masks}
