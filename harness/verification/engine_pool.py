"""The engines of a session: one for each checkpoint and serving setting, started when it is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.compare.setting import Setting
from harness.drivers.messages import LayOverlays, LoadEngine
from harness.drivers.running import RunningDriver
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure
from harness.prompts.model_spec import ModelSpec
from harness.verification.capture_store import CaptureStore
from harness.verification.interpreters import Sides

ENGINES_ALIVE = {"cpu": 2, "cuda": 1}
"""Engines that a session keeps: on a GPU several sessions share its memory."""


@dataclass
class _Engine:
    """A driver whose engine runs, and the overlays that lie over it."""

    driver: RunningDriver
    overlays: tuple[str, ...]


class Engines:
    """Serving drivers with an engine each, at most `ENGINES_ALIVE`; the one that was not asked for longest gives way."""

    def __init__(self, sides: Sides, store: CaptureStore, timeouts: Timeouts) -> None:
        self._sides = sides
        self._store = store
        self._timeouts = timeouts
        self._engines: OrderedDict[tuple, _Engine] = OrderedDict()

    def ready(self, checkpoint: str, spec: ModelSpec, setting: Setting) -> RunningDriver:
        """The driver whose engine serves the ``checkpoint`` of ``spec`` as ``setting`` says, started now unless it runs.

        Raises:
            DriverFailure: it could not be started, or an overlay does not fit it; the engine then runs on without any.
        """
        key = (spec.key, setting.engine_key)
        found = self._engines.get(key)
        if found and found.driver.alive:
            self._engines.move_to_end(key)
            self._lay(found, setting.overlays)
            return found.driver
        if found:
            self._drop(key)
        self.make_room(spec, setting)
        self._engines[key] = self._started(checkpoint, spec, setting)
        return self._engines[key].driver

    def make_room(self, spec: ModelSpec, setting: Setting) -> None:
        """End the engines that give way to the one of ``setting``: what is loaded before it starts may need their memory."""
        if (spec.key, setting.engine_key) in self._engines:
            return
        while len(self._engines) >= ENGINES_ALIVE[self._sides.platform]:
            self._drop(next(iter(self._engines)))

    @contextmanager
    def dropping(self, driver: RunningDriver) -> Iterator[None]:
        """An engine that fails is started anew when it is asked next, unless it goes on as it was."""
        try:
            yield
        except DriverFailure as failure:
            if not failure.kind.leaves_driver_whole:
                for key in [key for key, engine in self._engines.items() if engine.driver is driver]:
                    self._drop(key)
            raise

    def close(self) -> None:
        """End every engine."""
        for key in list(self._engines):
            self._drop(key)

    def _started(self, checkpoint: str, spec: ModelSpec, setting: Setting) -> _Engine:
        platform, options = self._sides.platform, setting.engine
        driver = self._sides.start_serving(options, self._store.log("serving"), self._store.scratch())
        arguments = options.engine_arguments(spec, setting.scenario, platform)
        try:
            driver.ask(
                LoadEngine(checkpoint, options.backend, options.runner, platform, arguments, setting.overlays),
                timeout=self._timeouts.start,
            )
        except BaseException:
            driver.close()
            raise
        return _Engine(driver, setting.overlays)

    def _lay(self, engine: _Engine, overlays: tuple[str, ...]) -> None:
        if engine.overlays != overlays:
            engine.overlays = ()
            with self.dropping(engine.driver):
                engine.driver.ask(LayOverlays(overlays), timeout=self._timeouts.case)
            engine.overlays = overlays

    def _drop(self, key: tuple) -> None:
        self._engines.pop(key).driver.close()
