"""What of a prompt is captured."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import option


@dataclass(frozen=True)
class CaptureSelection:
    """Masks of these ``layers`` and logits at these ``positions`` (negative ones from the end) are captured and compared;
    none stands for all."""

    layers: tuple[int, ...] = option((), "--observe-layer", "only this layer's mask; repeatable", new_engine=False)
    positions: tuple[int, ...] = option(
        (), "--logits-at", "only this position's logits, -1 is the last; repeatable", new_engine=False
    )
