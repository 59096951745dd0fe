"""A prompt that is given as text: what may stand in it, and how many tokens a preset's tokenizer makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import UsageError
from harness.families.gemma4.tokens import SPECIAL
from harness.families.texts import check_tokens, check_written
from harness.prompts.case import IMAGE
from harness.prompts.model_spec import ModelSpec

PLACEHOLDERS = [token for token in SPECIAL if "|" in token]
"""The tokens that stand for images, videos and audio; the processor writes all but `IMAGE` itself."""
_TOKENS = re.compile("|".join(map(re.escape, sorted(SPECIAL, key=len, reverse=True))))


def check(text: str, images: int) -> None:
    """Raise UsageError for a text without a word, with another number of places for images than there are, or with a token that
    the processor writes itself."""
    check_written(text)
    for token in PLACEHOLDERS:
        if token != IMAGE and token in text.replace(IMAGE, ""):
            raise UsageError("text", text, f"no {token}: the processor writes it itself around and instead of {IMAGE}")
    if text.count(IMAGE) != images:
        raise UsageError("text", text, f"{IMAGE} once for each of the {images} images")


def tokens(text: str, soft: Sequence[int], spec: ModelSpec) -> int:
    """How many tokens a preset's processor makes of a text: one a word or special token, and for each image of ``soft`` tokens
    these in boi and eoi.

    Raises:
        UsageError: it is longer than the model takes.
    """
    words = len(_TOKENS.sub(" x ", text).split())
    return check_tokens(text, words + sum(soft) + len(soft), spec)
