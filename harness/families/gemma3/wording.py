"""A prompt that is given as text: what may stand in it, and how many tokens a preset's tokenizer makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import UsageError
from harness.families.gemma3.tokens import BOI, EOI, IMAGE, SPECIAL
from harness.families.texts import check_tokens, check_written
from harness.prompts.model_spec import ModelSpec

_TOKENS = re.compile("|".join(map(re.escape, sorted(SPECIAL, key=len, reverse=True))))
_WORDS = re.compile(r"\n{1,4}|\S+")


def check(text: str, images: int) -> None:
    """Raise UsageError for a text without a word, with another number of places for images than there are, or with a token that
    the processor writes itself."""
    check_written(text)
    for token in (EOI, IMAGE):
        if token in text:
            raise UsageError("text", text, f"no {token}: the processor writes it itself around and instead of {BOI}")
    if text.count(BOI) != images:
        raise UsageError("text", text, f"{BOI} once for each of the {images} images")


def tokens(text: str, soft: Sequence[int], spec: ModelSpec) -> int:
    """How many tokens a preset's processor makes of a text: one a word, special token or run of newlines, and for each picture its
    soft tokens between boi and eoi, between two newlines and two newlines.

    Raises:
        UsageError: it is longer than the model takes.
    """
    expanded = text
    for count in soft:
        expanded = expanded.replace(BOI, "\n\n" + " x" * (count + 2) + "\n\n", 1)
    return check_tokens(text, len(_WORDS.findall(_TOKENS.sub(" x ", expanded))), spec)
