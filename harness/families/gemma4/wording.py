"""A prompt that is given as text: what may stand in it, and how many tokens a preset's tokenizer makes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.errors import UsageError
from harness.families.gemma4.tokens import SPECIAL
from harness.families.texts import check_tokens, check_written
from harness.prompts.case import AUDIO, IMAGE, VIDEO
from harness.prompts.model_spec import ModelSpec

PLACEHOLDERS = [token for token in SPECIAL if "|" in token]
"""The tokens that stand for images, videos and audio; the processor writes all but `IMAGE` itself."""
FILES = {IMAGE: "images", VIDEO: "videos", AUDIO: "audio clips"}
_TOKENS = re.compile("|".join(map(re.escape, sorted(SPECIAL, key=len, reverse=True))))


def check(text: str, places: Mapping[str, int]) -> None:
    """Raise UsageError for a text without a word, with another number of ``places`` for files, by what stands for one, than there
    are, or with a token that the processor writes itself."""
    check_written(text)
    others = text
    for word in places:
        others = others.replace(word, "")
    for token in PLACEHOLDERS:
        if token not in places and token in others:
            raise UsageError("text", text, f"no {token}: the processor writes it itself around and instead of {IMAGE}")
    for word, count in places.items():
        if text.count(word) != count:
            said = f"{word} once for each of the {count} {FILES[word]}"
            raise UsageError("text", text, said if word in text else f"{said}, or --chat for a message without it")


def tokens(text: str, soft: Sequence[int], spec: ModelSpec) -> int:
    """How many tokens a preset's processor makes of a text: one a word or special token, and for each image of ``soft`` tokens
    these in boi and eoi.

    Raises:
        UsageError: it is longer than the model takes.
    """
    words = len(_TOKENS.sub(" x ", text).split())
    return check_tokens(text, words + sum(soft) + len(soft), spec)
