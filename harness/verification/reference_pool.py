"""The reference drivers of a session: the first is asked for all that is remembered, streams take all in turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.compare.setting import Setting
from harness.drivers.process import Driver
from harness.drivers.timeouts import Timeouts

AT_WORK = {"cpu": 1, "cuda": 2}
"""Drivers of a stream. One alone leaves a GPU idle where it waits for what its next kernels depend on."""


@dataclass
class _Place:
    """A driver, if it was started, and the checkpoint, attention implementation and dtype that it has loaded."""

    driver: Driver | None = None
    loaded: tuple[str, str, str] | None = None

    def clear(self) -> None:
        if self.driver is not None:
            self.driver.close()
        self.driver = self.loaded = None


@dataclass
class References:
    """Reference drivers on ``device``, started when they are needed."""

    python: str
    device: str
    pinned: dict[str, str]
    log: Callable[[], Path]
    scratch: Callable[[], Path]
    timeouts: Timeouts
    _places: list[_Place] = field(init=False)
    _turn: int = 0

    def __post_init__(self) -> None:
        self._places = [_Place() for _ in range(AT_WORK[self.device])]

    def __len__(self) -> int:
        return len(self._places)

    def ask(self, op: str, **request: object) -> dict:
        """Ask the first driver; raises as `Driver.ask`."""
        return self._driver(self._places[0]).ask(op, timeout=self.timeouts.start, **request)

    def ready(self, checkpoint: str, setting: Setting, *, in_turn: bool) -> Driver:
        """A driver that has the checkpoint loaded as ``setting`` asks: the first, or the next one ``in_turn``.

        Raises:
            DriverFailure: it could not be loaded.
        """
        self._turn = (self._turn + 1) % len(self) if in_turn else 0
        place = self._places[self._turn]
        driver = self._driver(place)
        wanted = (checkpoint, setting.reference.reference, setting.engine.dtype)
        if place.loaded != wanted:
            place.loaded = None
            driver.ask("load", timeout=self.timeouts.start, device=self.device, **wanted_of(checkpoint, setting))
            place.loaded = wanted
        return driver

    def close(self) -> None:
        """End every driver."""
        for place in self._places:
            place.clear()

    def _driver(self, place: _Place) -> Driver:
        if place.driver is None or not place.driver.alive:
            place.clear()
            environment = {"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"), **self.pinned}
            place.driver = Driver("harness.references.transformers.driver", self.python, self.log(), environment, self.scratch())
        return place.driver


def wanted_of(checkpoint: str, setting: Setting) -> dict[str, str]:
    """What must be loaded for a setting, as requests to a driver name it."""
    return {"checkpoint": checkpoint, "attention": setting.reference.reference, "dtype": setting.engine.dtype}
