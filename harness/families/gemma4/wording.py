"""A prompt that is given as text: what may stand in it, and how many tokens a preset's tokenizer makes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import UsageError
from harness.families.gemma4.tokens import SPECIAL
from harness.prompts.case import IMAGE
from harness.prompts.model_spec import ModelSpec

PLACEHOLDERS = [token for token in SPECIAL if "|" in token]
"""The tokens that stand for images, videos and audio; the processor writes all but `IMAGE` itself."""
LONGEST = 1 << 20
"""Characters."""
_TOKENS = re.compile("|".join(map(re.escape, sorted(SPECIAL, key=len, reverse=True))))


def check(text: str, images: int) -> None:
    """Raise UsageError for a text without a word, with another number of places for images than there are, or with a token that
    the processor writes itself."""
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        raise UsageError("text", text, "at least one word")
    if len(text) > LONGEST or not _encodable(text):
        raise UsageError("text", text, f"at most {LONGEST} characters, all of which UTF-8 can write")
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
    count = words + sum(soft) + len(soft)
    if count > spec.max_length - 1:
        raise UsageError(
            "text", text, f"at most {spec.max_length - 1} tokens, which {spec.name} takes; this has {count}"
        )
    return count


def _encodable(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False
