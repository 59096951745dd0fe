"""A prompt that is given as text, as every family has it."""

from __future__ import annotations

from harness.errors import UsageError
from harness.prompts.model_spec import ModelSpec

LONGEST = 1 << 20
"""Characters."""


def check_written(text: str) -> None:
    """Raise UsageError for a text without a word, one that is too long, or one that cannot be written."""
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        raise UsageError("text", text, "at least one word")
    if len(text) > LONGEST or not _encodable(text):
        raise UsageError("text", text, f"at most {LONGEST} characters, all of which UTF-8 can write")


def check_tokens(text: str, count: int, spec: ModelSpec) -> int:
    """The number ``count`` of a text's tokens; raises UsageError where the model does not take so many."""
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
