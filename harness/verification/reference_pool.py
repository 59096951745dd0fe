"""The reference drivers of a session: the first is asked for all that is remembered, streams take all in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from harness.compare.setting import Setting
from harness.drivers.messages import LoadReference, ReferenceModel, Request
from harness.drivers.running import RunningDriver
from harness.drivers.timeouts import Timeouts
from harness.verification.capture_store import CaptureStore
from harness.verification.interpreters import Sides

AT_WORK = {"cpu": 1, "cuda": 2}
"""Drivers of a stream. One alone leaves a GPU idle where it waits for what its next kernels depend on."""
A = TypeVar("A")


@dataclass
class _Place:
    """A driver, if it was started, and the model that it has loaded."""

    driver: RunningDriver | None = None
    loaded: ReferenceModel | None = None

    def clear(self) -> None:
        if self.driver is not None:
            self.driver.close()
        self.driver = self.loaded = None


class References:
    """Reference drivers, started when they are needed."""

    def __init__(self, sides: Sides, store: CaptureStore, timeouts: Timeouts) -> None:
        self._sides = sides
        self._store = store
        self._timeouts = timeouts
        self._places = [_Place() for _ in range(AT_WORK[sides.platform])]
        self._turn = 0

    def __len__(self) -> int:
        return len(self._places)

    def ask(self, request: Request[A]) -> A:
        """Ask the first driver; raises as `Driver.ask`."""
        return self._driver(self._places[0]).ask(request, timeout=self._timeouts.start)

    def ready(self, model: ReferenceModel, *, in_turn: bool) -> RunningDriver:
        """A driver that has the model loaded: the first, or the next one ``in_turn``.

        Raises:
            DriverFailure: it could not be loaded.
        """
        self._turn = (self._turn + 1) % len(self) if in_turn else 0
        place = self._places[self._turn]
        driver = self._driver(place)
        if place.loaded != model:
            place.loaded = None
            driver.ask(LoadReference(model, self._sides.platform), timeout=self._timeouts.start)
            place.loaded = model
        return driver

    def close(self) -> None:
        """End every driver."""
        for place in self._places:
            place.clear()

    def _driver(self, place: _Place) -> RunningDriver:
        if place.driver is None or not place.driver.alive:
            place.clear()
            place.driver = self._sides.start_reference(self._store.log("reference"), self._store.scratch())
        return place.driver


def reference_model(checkpoint: str, setting: Setting) -> ReferenceModel:
    """What must be loaded for a setting."""
    return ReferenceModel(checkpoint, setting.reference.reference, setting.engine.dtype)
