"""Gemma 3 as a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.families.base import Family, ReferenceSide, ServingSide
from harness.families.gemma3 import presets, prompts, wording
from harness.families.gemma3.tokens import BOI
from harness.families.limits import PICTURES
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt


class Gemma3(Family):
    """Images are bidirectional on every layer; sliding layers see them within the window, full layers whole."""

    name = "gemma3"
    title = "Gemma 3"
    model_types = ("gemma3",)
    model_class = "Gemma3ForConditionalGeneration"
    words = {"image": BOI}  # noqa: RUF012  nobody writes to it
    presets = presets.PRESETS
    intended = {"sliding": "clamp", "full": "everywhere"}  # noqa: RUF012  nobody writes to it
    dtypes = ("float32", "bfloat16")

    def prompt_for(self, layout: Layout, spec: ModelSpec, seed: int, field: str) -> Prompt:
        return prompts.prompt_for(layout, spec, seed, field)

    def causal(self, spec: ModelSpec) -> ModelSpec:
        raise UsageError("model", spec.name, "one of a family with causal images; those of Gemma 3 are bidirectional")

    def letters(self, spec: ModelSpec) -> str:
        return "tiI"

    def unit(self, spec: ModelSpec) -> int:
        return spec.image_tokens

    def limits(self, spec: ModelSpec) -> dict[str, int]:
        return {"image": PICTURES}

    def largest(self, spec: ModelSpec) -> dict[str, int]:
        return {"image": spec.image_tokens}

    def spec_of(self, name: str, config: dict, source: str) -> ModelSpec:
        from harness.families.gemma3 import checkpoint

        return checkpoint.spec_of(name, config, source)

    def pictures(self, spec: ModelSpec) -> int:
        """Every picture is scaled to one crop: pan and scan is off unless a request asks for it."""
        return spec.image_tokens

    def soft_tokens(self, field: str, name: str, size: tuple[int, int], cut: int) -> int:
        return cut

    def check_text(self, text: str, places: Mapping[str, int]) -> None:
        wording.check(text, places["image"])

    def text_tokens(self, text: str, soft: Sequence[int], spec: ModelSpec) -> int:
        return wording.tokens(text, soft, spec)

    def build(self, spec: ModelSpec, cache: Path) -> Path:
        from harness.families.gemma3.build import build

        return build(spec, cache)

    def reference_side(self, model_type: str) -> ReferenceSide:
        from harness.families.gemma3.reference import Reference

        return Reference()

    def serving_side(self, model_type: str) -> ServingSide:
        from harness.families.gemma3.serving import Serving

        return Serving()
