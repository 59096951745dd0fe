"""How values are written for people and for strict parsers."""

from __future__ import annotations

import math
from typing import Any

from harness.text import plain

SIDES = {"both": "either side", "reference": "the reference's side", "serving": "the serving side"}
"""Where logits have no numbers, in words: the keys are those of `LogitsResult.not_finite`."""


def strict(value: Any) -> Any:
    """``value`` as JSON may hold it: numbers that are not finite become None, strings are `plain`."""
    if isinstance(value, dict):
        return {plain(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return plain(value) if isinstance(value, str) else value


def number(value: float | None) -> str:
    """Three significant digits; "not finite" where there is no number, as in results read back from JSON."""
    return "not finite" if value is None or not math.isfinite(value) else f"{value:.3g}"


def sortable(value: float | None) -> str:
    """A number as the page sorts by it: what is not finite comes after every number."""
    return "Infinity" if value is None or not math.isfinite(value) else repr(float(value))


def layer_list(indices: list[int]) -> str:
    """``[0, 1, 2, 5]`` as "0-2, 5"."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(start) if start == end else f"{start}-{end}" for start, end in runs)
