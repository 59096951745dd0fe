"""What a layout's prompt is made of for a Gemma 4 checkpoint that exists already: its own token ids, patches and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from harness.errors import UsageError
from harness.families.drawn import words_of
from harness.families.gemma4.config import Config, UnifiedConfig
from harness.families.gemma4.tokens import FIRST_WORD
from harness.families.reading import file_of, read
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec

BUDGETS = (70, 140, 280, 560, 1120)
"""Soft tokens that Gemma 4's processor can be told to make of an image at most (transformers `image_processing_gemma4.py`)."""
PUBLISHED = {
    "boi": 255_999, "eoi": 258_882, "image": 258_880, "video": 258_884, "boa": 256_000, "eoa": 258_883, "audio": 258_881,
}  # fmt: skip
"""Ids where a config.json has none: the defaults of transformers' `Gemma4Config`."""


@dataclass(frozen=True)
class Takes:
    """``ids`` of special tokens by their kinds; ``words`` (first, end) are ids of none of them; ``cut`` is the side of a patch in
    pixels and of a pool in patches; an image has at most ``most`` soft tokens, 0 where there is no vision tower."""

    ids: Mapping[str, int]
    words: tuple[int, int]
    cut: tuple[int, int]
    most: int


@lru_cache(maxsize=8)
def of(spec: ModelSpec) -> Takes:
    """What the checkpoint of a spec takes.

    Raises:
        UsageError: its config.json is damaged, or has ids that are not in its vocabulary.
    """
    path = file_of(spec.source, "config.json")
    config: Config | UnifiedConfig = (
        read(spec.name, path, UnifiedConfig) if spec.unified else read(spec.name, path, Config)
    )
    eoa = config.eoa_token_id if config.eoa_token_id is not None else config.eoa_token_index
    named = {kind: getattr(config, f"{kind}_token_id") for kind in PUBLISHED if kind != "eoa"} | {"eoa": eoa}
    ids = {kind: PUBLISHED[kind] if number is None else number for kind, number in named.items()}
    first, end = words_of(spec.vocab, ids, FIRST_WORD)
    if end <= first:
        taken = ", ".join(f"{kind} {number}" for kind, number in ids.items())
        raise UsageError("model", spec.name, f"its config.json leaves no ids for words between {first} and {taken}")
    vision = config.vision_config
    if vision is None:
        return Takes(ids, (first, end), (1, 1), 0)
    return Takes(ids, (first, end), vision.cut, min(BUDGETS[-1], vision.places))


def check(layout: Layout, spec: ModelSpec, field: str) -> None:
    """Raise UsageError for a layout that the checkpoint cannot be given."""
    made = of(spec)
    kinds = {segment.kind for segment in layout.segments}
    for kind in sorted(kinds - {"text"}):
        marks = {"image": ("boi", "eoi", "image"), "video": ("boi", "eoi", "video"), "audio": ("boa", "eoa", "audio")}
        for mark in marks[kind]:
            if made.ids[mark] >= spec.vocab:
                why = f"its config.json gives {mark} the id {made.ids[mark]}, and it has {spec.vocab} tokens"
                raise UsageError(field, str(layout), f"{spec.name} takes no {kind}: {why}")
    if not made.most and kinds & {"image", "video"}:
        raise UsageError(field, str(layout), f"{spec.name} has no vision tower: text alone")
    longest = max((segment.soft for segment in layout.segments if segment.kind == "image"), default=0)
    if longest > made.most:
        budgets = ", ".join(map(str, BUDGETS))
        why = f"soft tokens, of the budgets {budgets} and the places of its vision tower; one has {longest}"
        raise UsageError(field, str(layout), f"{spec.name} takes images of at most {made.most} {why}")
