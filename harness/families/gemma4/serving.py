"""Gemma 4 in vLLM: items as its processor hands them over, and what its model calls the checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.families.base import ServingSide, renamed
from harness.families.gemma4 import assistant, inputs
from harness.families.gemma4.prompts import cut_of
from harness.prompts.layout import LONGEST_FRAME
from harness.prompts.prompt import Prompt

PREFIXES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    **{f"{name}.": f"model.{name}." for name in ("vision_tower", "embed_vision", "audio_tower", "embed_audio")},
}
OLDER = {".moe.experts.": ".experts.", ".moe.per_expert_scale": ".router.per_expert_scale"}
"""Places of 0.25, whose experts are in a module of their own."""


class Serving(ServingSide):
    fields = {  # noqa: RUF012  nobody writes to it
        "image": ("pixel_values", "pixel_position_ids"),
        "video": ("pixel_values_videos", "pixel_position_ids_videos"),
        "audio": ("input_features_padded", "input_features_mask"),
    }
    prefixes: Mapping[str, str] = PREFIXES

    def drafter(self, checkpoint: Path, directory: Path) -> Path:
        return assistant.write(checkpoint, directory)

    def items(self, prompt: Prompt, together: Sequence[Prompt], config: Any) -> Any:
        """As `gemma4_mm.py`, `_get_mm_fields_config`, which pads every frame of a video to the same number of patches
        (docs/findings/vllm-video-batch-padding.md); images are filled up to the largest of those ``together``."""
        from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

        data: dict = {}
        fields: dict = {}
        images = [inputs.vision(item) for item in prompt.items if item.modality == "image"]
        if images:
            patches = max(
                (
                    item.soft * cut_of(item)[1] ** 2
                    for each in together
                    for item in each.items
                    if item.modality == "image"
                ),
                default=0,
            )
            data["pixel_values"] = [inputs.padded([pixels[0]], 0, patches)[0] for pixels, _ in images]
            data["pixel_position_ids"] = [inputs.padded([positions[0]], -1, patches)[0] for _, positions in images]
            fields.update({name: MultiModalFieldConfig.batched("image") for name in self.fields["image"]})
        videos = [item for item in prompt.items if item.modality == "video"]
        if videos:
            drawn = [inputs.vision(item) for item in videos]
            counts = torch.tensor([item.frames for item in videos])
            most = LONGEST_FRAME * cut_of(videos[0])[1] ** 2
            frames = [frame for pixels, _ in drawn for frame in pixels]
            data["pixel_values_videos"] = inputs.padded(frames, 0, most)
            data["pixel_position_ids_videos"] = inputs.padded([f for _, places in drawn for f in places], -1, most)
            data["video_frame_counts"] = counts
            for name in ("pixel_values_videos", "pixel_position_ids_videos"):
                fields[name] = MultiModalFieldConfig.flat_from_sizes("video", counts)
            fields["video_frame_counts"] = MultiModalFieldConfig.batched("video", keep_on_cpu=True)
        clips = [inputs.audio(item) for item in prompt.items if item.modality == "audio"]
        if clips:
            data["input_features_padded"] = [features for features, _ in clips]
            data["input_features_mask"] = [mask for _, mask in clips]
            fields.update(
                {
                    name: MultiModalFieldConfig.batched("audio")
                    for name in ("input_features_padded", "input_features_mask")
                }
            )
        return MultiModalKwargsItems.from_hf_inputs(data, fields)

    def pictures(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, positions = tensors
        return pixels, positions

    def video(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, positions = tensors
        return pixels, positions

    def clip(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        features, mask = tensors
        return features, inputs.counted(mask)

    def name_of(self, name: str) -> str:
        for older, newer in OLDER.items():
            name = name.replace(older, newer)
        return renamed(name, self.prefixes)


class UnifiedServing(Serving):
    """12B (`gemma4_unified.py`); transformers has its embedder of patches and the projection behind it in one module."""

    prefixes = {  # noqa: RUF012  nobody writes to it
        "language_model.model.": "model.language_model.",
        "language_model.lm_head.": "lm_head.",
        "vision_embedder.": "model.embed_vision.",
        "embed_vision.": "model.embed_vision.multimodal_embedder.",
        "embed_audio.": "model.embed_audio.",
    }
