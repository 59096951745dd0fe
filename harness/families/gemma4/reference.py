"""Gemma 4 in transformers: its classes, and a prompt as its forward takes it."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from transformers import Gemma4ForConditionalGeneration
from transformers.models.gemma4 import modeling_gemma4

from harness.families.base import ReferenceSide
from harness.families.gemma4 import inputs
from harness.prompts.prompt import Prompt


class Reference(ReferenceSide):
    modeling = modeling_gemma4
    model = Gemma4ForConditionalGeneration
    attention = modeling_gemma4.Gemma4TextAttention
    decoder_layer = modeling_gemma4.Gemma4TextDecoderLayer
    router = modeling_gemma4.Gemma4TextRouter
    types = "mm_token_type_ids"
    passed_over = ("embed_vision.embedding.", "embed_audio.embedding.")
    """They are from Gemma 3n (vLLM `gemma4_mm.py`, `load_weights`)."""
    of_config = {  # noqa: RUF012  nobody writes to it
        "vision_config": ("vision_tower.", "embed_vision."),
        "audio_config": ("audio_tower.", "embed_audio."),
    }

    def arguments(self, prompts: Sequence[Prompt], config: Any) -> dict[str, torch.Tensor]:
        arguments = {
            "input_ids": torch.tensor([prompt.token_ids for prompt in prompts]),
            "mm_token_type_ids": torch.tensor([prompt.token_types for prompt in prompts]),
        }
        items = [item for prompt in prompts for item in prompt.items]
        images = [inputs.vision(item) for item in items if item.modality == "image"]
        if images:
            arguments["pixel_values"] = inputs.padded([pixels[0] for pixels, _ in images], 0)
            arguments["image_position_ids"] = inputs.padded([positions[0] for _, positions in images], -1)
        videos = [inputs.vision(item) for item in items if item.modality == "video"]
        if videos:
            frames = [frame for pixels, _ in videos for frame in pixels]
            positions = [frame for _, places in videos for frame in places]
            arguments["pixel_values_videos"] = inputs.padded(frames, 0)
            arguments["video_position_ids"] = inputs.padded(positions, -1)
            arguments["num_frames_per_video"] = torch.tensor([len(pixels) for pixels, _ in videos])
        clips = [inputs.audio(item) for item in items if item.modality == "audio"]
        if clips:
            arguments["input_features"] = inputs.padded([features for features, _ in clips], 0)
            arguments["input_features_mask"] = inputs.padded([mask for _, mask in clips], False)
        return arguments

    def pictures(self, arguments: dict[str, torch.Tensor]) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        pixels, positions = (arguments.get(name, ()) for name in ("pixel_values", "image_position_ids"))
        return pixels, positions

    def videos(self, arguments: dict[str, torch.Tensor]) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
        if "pixel_values_videos" not in arguments:
            return ()
        both = arguments["pixel_values_videos"], arguments["video_position_ids"]
        if "num_frames_per_video" not in arguments:  # until 5.16 the first dimension is of videos
            return [*zip(*both, strict=True)]
        counts = arguments["num_frames_per_video"].tolist()
        return [*zip(*(tensor.split(counts) for tensor in both), strict=True)]

    def clips(self, arguments: dict[str, torch.Tensor]) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        features, masks = (arguments.get(name, ()) for name in ("input_features", "input_features_mask"))
        return features, [*map(inputs.counted, masks)]

    def forward(self, model: Any, arguments: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        """Videos are encoded first, as `generate` does: 5.19.0's forward requires the frame counts and does not pass them on
        (docs/findings/transformers-video-forward.md)."""
        given: dict[str, Any] = dict(arguments)
        counts = given.pop("num_frames_per_video", None)
        if counts is not None and "num_frames_per_video" not in signature(model.model.get_video_features).parameters:
            # Until 5.16 the frames of all videos are encoded one after another, whatever video they are of.
            given["pixel_values_videos"] = given["pixel_values_videos"][None]
            given["video_position_ids"] = given["video_position_ids"][None]
        elif counts is not None:
            videos = {"num_frames_per_video": counts, "return_dict": True}
            videos["video_position_ids"] = given.pop("video_position_ids")
            features = model.model.get_video_features(given.pop("pixel_values_videos"), **videos)
            given["mm_encoder_outputs"] = {"video": features}
            if "pixel_values" in given:
                images = (given.pop("pixel_values"), given.pop("image_position_ids"))
                given["mm_encoder_outputs"]["image"] = model.model.get_image_features(*images, return_dict=True)
        # Without a cache 5.5 gives layers that share keys and values ones of their own
        # (docs/findings/transformers-shared-kv-cache.md).
        shares = bool(model.config.text_config.num_kv_shared_layers)
        return model(**given, use_cache=shares, logits_to_keep=rows).logits

    def prepare(self, model: Any) -> None:
        """Let the audio tower, if there is one, make its masks for sdpa whatever the rest of the model attends with: those of eager
        attention are additive, and the tower takes what is not 0 for allowed (docs/findings/transformers-audio-eager-mask.md)."""
        tower = getattr(model.model, "audio_tower", None)
        if tower is not None:
            tower.config._attn_implementation = "sdpa"
