"""What of a prompt is captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.options import check_choices, option

MASKS, LOGITS = "masks", "logits"


@dataclass(frozen=True)
class CaptureSelection:
    """Masks of these ``layers`` and logits at these ``positions`` (negative ones from the end) are captured and compared;
    none stands for all. ``observe`` is what is looked at in serving: its masks too, or its logits alone, as its own sampler is
    given them.

    Raises:
        UsageError: ``observe`` is neither, or layers are named whose masks are not looked at.
    """

    layers: tuple[int, ...] = option((), "--observe-layer", "only this layer's mask; repeatable", new_engine=False)
    positions: tuple[int, ...] = option(
        (), "--logits-at", "only this position's logits, -1 is the last; repeatable", new_engine=False
    )
    observe: str = option(
        MASKS, "--observe", "masks, or logits: serving's masks are not observed, and its sampler's logits alone judge it",
        choices=(MASKS, LOGITS), new_engine=False, label="observe {}".format,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_choices(self)
        if self.layers and self.observe == LOGITS:
            raise UsageError(
                "observe-layer", self.layers[0], "with --observe masks alone: with logits no layer's mask is observed"
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
