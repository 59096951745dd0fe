"""One client's observation, as a worker knows it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.engines.vllm.attach.protocol import LEASE, TICKET


@dataclass
class Observation:
    """What one client asked for: the requests by the names that they have here. What is written is below ``within``, a
    directory of its own.

    Raises:
        ValueError: the ticket is none that an endpoint makes.
    """

    ticket: str
    names: list[str]
    within: Path
    touched: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if not re.fullmatch(TICKET, self.ticket):
            raise ValueError("this is no ticket")

    @property
    def directory(self) -> Path:
        return self.within / self.ticket

    @property
    def left(self) -> float:
        """Seconds until it is over, if nobody goes on with it."""
        return max(0.0, self.touched + LEASE - time.monotonic())

    def touch(self) -> None:
        """Somebody goes on with it."""
        self.touched = time.monotonic()

    def stack(self, place: int) -> Path:
        return self.directory / str(place)
