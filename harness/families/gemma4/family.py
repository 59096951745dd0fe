"""Gemma 4 as a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.families.base import Family, Followed, ReferenceSide, ServingSide
from harness.families.gemma4 import presets, prompts, published, wording
from harness.families.gemma4.prompts import UNIFIED
from harness.families.limits import PICTURES
from harness.prompts.case import AUDIO, IMAGE, VIDEO
from harness.prompts.layout import LONGEST_FRAME, Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt

FRAMES = 32
"""The most frames of a video; a frame has 8 tokens around its soft ones (vLLM `gemma4_mm.py`, `get_mm_max_tokens_per_item`)."""
AROUND_FRAME = 3
"""Tokens beside the soft ones of a preset's frame: its time, which is one word there, boi and eoi."""
LONGEST_AUDIO = 750
"""Tokens of the longest audio, as transformers' processor has it where nothing else is said (`audio_seq_length`)."""


class Gemma4(Family):
    """Images are bidirectional on sliding layers, within the window, where the configuration asks for it."""

    name = "gemma4"
    title = "Gemma 4"
    model_types = ("gemma4", UNIFIED)
    model_class = "Gemma4ForConditionalGeneration"
    words = {"image": IMAGE, "video": VIDEO, "audio": AUDIO}  # noqa: RUF012  nobody writes to it
    presets = presets.PRESETS
    published = published.PUBLISHED
    intended = {"sliding": "clamp", "full": "causal"}  # noqa: RUF012  nobody writes to it
    followed = (
        Followed(
            "sliding",
            "unclamped",
            ">=5.5,<5.13",
            "known of transformers from 5.5.0, the first with Gemma 4, until 5.13.0 (PR #46850)",
        ),
        Followed("full", "everywhere", ">=5.9,<5.13", "known of transformers from 5.9.0 until 5.13.0 (PR #46850)"),
        Followed(
            "sliding",
            "clamp-both",
            ">=4.0",
            "known of google-deepmind/gemma from 4.0.0 on (`gm/nn/gemma4/_modules.py`, `_create_sliding_mask`)",
            reference="official",
        ),
        Followed(
            "sliding",
            "unclamped",
            ">=0.32",
            "known of keras-hub 0.32.0 (`gemma4_decoder_block.py`, `_compute_attention_mask`)",
            reference="keras-hub",
        ),
    )

    released = {UNIFIED: {"transformers": ">=5.10", "vllm": ">=0.23"}}  # noqa: RUF012  nobody writes to it

    def prompt_for(self, layout: Layout, spec: ModelSpec, seed: int, field: str) -> Prompt:
        return prompts.prompt_for(layout, spec, seed, field)

    def causal(self, spec: ModelSpec) -> ModelSpec:
        return presets.causal(spec)

    def letters(self, spec: ModelSpec) -> str:
        return "tiIva" if spec.audio else "tiIv"

    def limits(self, spec: ModelSpec) -> dict[str, int]:
        return {"image": PICTURES, "video": 8, **({"audio": 8} if spec.audio else {})}

    def largest(self, spec: ModelSpec) -> dict[str, int]:
        cut = self.pictures(spec)
        sizes = {
            "video": FRAMES * (LONGEST_FRAME + 8),
            **({"audio": LONGEST_AUDIO} if spec.audio and not spec.source else {}),
        }
        return sizes | ({"image": cut.max_soft_tokens} if cut else {})

    def longest_image(self, spec: ModelSpec) -> int:
        if not spec.source:
            return spec.max_length
        from harness.families.gemma4 import takes

        return takes.of(spec).most

    def spec_of(self, name: str, config: dict, source: str) -> ModelSpec:
        from harness.families.gemma4 import checkpoint

        return checkpoint.spec_of(name, config, source)

    def shape_of(self, name: str, config: dict) -> ModelSpec:
        from harness.families.gemma4 import checkpoint

        return checkpoint.shape_of(name, config)

    def pictures(self, spec: ModelSpec) -> Any:
        from harness.families.gemma4 import checkpoint

        return checkpoint.pictures(spec)

    def soft_tokens(self, field: str, name: str, size: tuple[int, int], cut: Any) -> int:
        from harness.families.gemma4 import pictures

        return pictures.soft_tokens(field, name, size, cut)

    def rate(self, spec: ModelSpec) -> int:
        from harness.families.gemma4 import checkpoint

        sounds = checkpoint.sounds(spec)
        if sounds.dither:
            why = (
                f"each side would add noise of its own to a clip, and its processor_config.json says {sounds.dither:g}"
            )
            raise UsageError("audio", spec.name, f"a checkpoint whose feature_extractor has a dither of 0: {why}")
        return sounds.sampling_rate

    def clip_tokens(self, name: str, samples: int, spec: ModelSpec) -> int:
        from harness.families.gemma4 import sounds

        return sounds.soft_tokens(name, samples, self.rate(spec))

    def video_tokens(self, name: str, frames: int, size: tuple[int, int], spec: ModelSpec) -> int:
        from harness.families.gemma4 import checkpoint

        return min(frames, FRAMES) * (self.soft_tokens("video", name, size, checkpoint.PRESET_FRAMES) + AROUND_FRAME)

    def check_text(self, text: str, places: Mapping[str, int]) -> None:
        wording.check(text, {self.words[modality]: count for modality, count in places.items()})

    def text_tokens(self, text: str, soft: Sequence[int], spec: ModelSpec) -> int:
        return wording.tokens(text, soft, spec)

    def member(self, spec: ModelSpec) -> str:
        return UNIFIED if spec.unified else self.model_types[0]

    def build(self, spec: ModelSpec, cache: Path) -> Path:
        if spec.unified:
            from harness.families.gemma4.unified_build import build
        else:
            from harness.families.gemma4.build import build
        return build(spec, cache)

    def reference_side(self, model_type: str) -> ReferenceSide:
        if model_type == UNIFIED:
            from harness.families.gemma4.unified_reference import UnifiedReference

            return UnifiedReference()
        from harness.families.gemma4.reference import Reference

        return Reference()

    def serving_side(self, model_type: str) -> ServingSide:
        from harness.families.gemma4.serving import Serving, UnifiedServing

        return UnifiedServing() if model_type == UNIFIED else Serving()
