"""What of a prompt is captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.options import option


@dataclass(frozen=True)
class CaptureSelection:
    """Masks of these ``layers`` and logits at these ``positions`` (negative ones from the end) are captured and compared;
    none stands for all."""

    layers: tuple[int, ...] = option((), "--observe-layer", "only this layer's mask; repeatable", new_engine=False)
    positions: tuple[int, ...] = option(
        (), "--logits-at", "only this position's logits, -1 is the last; repeatable", new_engine=False
    )


def chosen(positions: Sequence[int], tokens: int) -> list[int]:
    """Which of a prompt's positions are meant, in order: negative ones from the end, none for all.

    Raises:
        UsageError: there is no such position.
    """
    for position in positions:
        if not -tokens <= position < tokens:
            raise UsageError("position", position, f"the prompt has {tokens} tokens")
    return sorted({position % tokens for position in positions}) or list(range(tokens))
