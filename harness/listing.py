"""Lists in messages."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[object], most: int = 3) -> str:
    """The first ``most`` of them in order, and how many more there are: `a, b, c and 4 more`."""
    words = [str(name) for name in names]
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
