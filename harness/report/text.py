"""How values are written for people and for strict parsers."""

from __future__ import annotations

import math
import re
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
"""What moves the cursor, turns the direction of text or cannot be seen, and what XML 1.0 forbids."""


def plain(text: object) -> str:
    """``text`` with line ends as ``\\n``, and what would act instead of being read made visible: an escape character is
    written ``\\x1b``, a bidirectional control ``<U+202E>``."""
    return _CONTROL.sub(_visible, str(text).replace("\r\n", "\n").replace("\r", "\n"))


def uncoloured(log: str) -> str:
    """A log without the colours that a library gave it for a terminal."""
    return _COLOUR.sub("", log)


def one_line(text: object, longest: int = 500) -> str:
    """`plain` text in one line, cut after so many characters."""
    return cut(" ".join(plain(text).split()), longest)


def cut(text: str, longest: int) -> str:
    """``text``, or its beginning and how much of it was left out."""
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text) - longest} more characters)"


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0xA0 else f"<U+{code:04X}>"


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
