"""The reference drivers of a session: the first is asked for all that is remembered, streams take all in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.compare.setting import Setting
from harness.drivers.messages import Build, Caching, LoadReference, Prepare, Prepared, ReferenceModel
from harness.drivers.running import RunningDriver, Told, ignored
from harness.drivers.timeouts import Timeouts
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.references.options import NO_CACHE
from harness.verification.capture_store import CaptureStore
from harness.verification.interpreters import Sides

AT_WORK = {"cpu": 1, "cuda": 2}
"""Drivers of a stream. One alone leaves a GPU idle where it waits for what its next kernels depend on."""


Start = Callable[[], RunningDriver]


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
        self._places = [_Place() for _ in range(AT_WORK[sides.device])]
        self._preparing = self._places[0] if sides.reference.prepares else _Place()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._places)

    def build(self, spec: ModelSpec, cache: Path) -> str:
        """The checkpoint directory of a spec, built by the driver that prepares; raises as `Driver.ask`."""
        driver = self._driver(self._preparing, self._start_preparing)
        return driver.ask(Build(spec, cache), timeout=self._timeouts.start).checkpoint

    def prepared(self, model: ReferenceModel, prompts: Sequence[Prompt]) -> Prepared | None:
        """What a reference that does not prepare is given of ``prompts``; None for one that does.

        Raises:
            DriverFailure: transformers could not load the model, or failed.
        """
        if self._sides.reference.prepares or not prompts:
            return None
        driver = self._loaded(self._preparing, model, self._start_preparing)
        request = Prepare(model, tuple(prompts), self._store.directory("prepared"))
        return driver.ask(request, timeout=self._timeouts.case)

    def ready(self, model: ReferenceModel, *, in_turn: bool, told: Told = ignored) -> RunningDriver:
        """A driver that has the model loaded: the first, or the next one ``in_turn``; ``told`` hears how far the loading is.

        Raises:
            DriverFailure: it could not be loaded.
        """
        self._turn = (self._turn + 1) % len(self) if in_turn else 0
        return self._loaded(self._places[self._turn], model, self._start, told)

    def close(self) -> None:
        """End every driver."""
        for place in (*self._places, self._preparing):
            place.clear()

    def _loaded(self, place: _Place, model: ReferenceModel, start: Start, told: Told = ignored) -> RunningDriver:
        driver = self._driver(place, start)
        if place.loaded != model:
            place.loaded = None
            driver.ask(LoadReference(model, self._sides.device), timeout=self._timeouts.start, told=told)
            place.loaded = model
        return driver

    def _driver(self, place: _Place, start: Start) -> RunningDriver:
        if place.driver is None or not place.driver.alive:
            place.clear()
            place.driver = start()
        return place.driver

    def _start(self) -> RunningDriver:
        return self._sides.start_reference(self._store.log("reference"), self._store.scratch())

    def _start_preparing(self) -> RunningDriver:
        if self._sides.reference.prepares:
            return self._start()
        return self._sides.start_preparing(self._store.log("preparing"), self._store.scratch())


def reference_model(checkpoint: str, setting: Setting) -> ReferenceModel:
    """What must be loaded for a setting."""
    engine = setting.engine
    asked = setting.reference
    return ReferenceModel(
        checkpoint, asked.reference, engine.dtype, engine.kv_dtype, asked.offload, setting.scenario.adapted
    )


def caching_of(setting: Setting) -> Caching | None:
    """With which cache of its own the reference is run too, if with one."""
    asked = setting.reference
    if asked.reference_cache == NO_CACHE:
        return None
    return Caching(asked.reference_cache, asked.prefill_chunk_size)
