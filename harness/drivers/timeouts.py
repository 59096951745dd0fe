"""How long a driver may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.errors import UsageError

LONGEST = 7 * 24 * 3600
"""Seconds."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds that either side has for one request: ``case`` to run prompts, ``start`` to load or build a checkpoint.

    Raises:
        UsageError: one is not a number of seconds.
    """

    case: float = 900.0
    start: float = 600.0

    def __post_init__(self) -> None:
        for field, value in (("timeout", self.case), ("start-timeout", self.start)):
            if not (math.isfinite(value) and 1 <= value <= LONGEST):
                raise UsageError(field, value, f"1 to {LONGEST} seconds")
