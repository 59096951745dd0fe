"""The engines of a session: one for each checkpoint and serving setting, started when it is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.compare.setting import Setting
from harness.drivers.messages import Done, LayOverlays, LoadEngine, Sent
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
    """A driver and the overlays that lie over its engine; the request to ``start`` it, until that was answered."""

    driver: RunningDriver
    overlays: tuple[str, ...]
    start: Sent[Done] | None


class Engines:
    """Serving drivers with an engine each, at most `ENGINES_ALIVE`; the one that was not asked for longest gives way."""

    def __init__(self, sides: Sides, store: CaptureStore, timeouts: Timeouts) -> None:
        self._sides = sides
        self._store = store
        self._timeouts = timeouts
        self._engines: OrderedDict[tuple, _Engine] = OrderedDict()

    @contextmanager
    def starting(self, checkpoint: str, spec: ModelSpec, setting: Setting) -> Iterator[None]:
        """Let the engine that serves the ``checkpoint`` of ``spec`` as ``setting`` says start meanwhile, unless it runs; those that
        give way to it have ended before. Where what is done meanwhile fails, one that is not ready ends."""
        key = (spec.key, setting.engine_key)
        engine = self._begun(checkpoint, spec, setting)
        try:
            yield
        except BaseException:
            if engine.start:
                self._drop(key)
            raise

    def ready(self, checkpoint: str, spec: ModelSpec, setting: Setting) -> RunningDriver:
        """The driver whose engine serves the ``checkpoint`` of ``spec`` as ``setting`` says, started now unless it runs.

        Raises:
            DriverFailure: it could not be started, or an overlay does not fit it; the engine then runs on without any.
        """
        engine = self._begun(checkpoint, spec, setting)
        if engine.start:
            try:
                engine.driver.receive(engine.start, timeout=self._timeouts.start)
            except BaseException:
                self._drop((spec.key, setting.engine_key))
                raise
            engine.start = None
        self._lay(engine, setting.overlays)
        return engine.driver

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

    def _begun(self, checkpoint: str, spec: ModelSpec, setting: Setting) -> _Engine:
        key = (spec.key, setting.engine_key)
        found = self._engines.get(key)
        if found and (found.start or found.driver.alive):
            self._engines.move_to_end(key)
            return found
        if found:
            self._drop(key)
        while len(self._engines) >= ENGINES_ALIVE[self._sides.platform]:
            self._drop(next(iter(self._engines)))
        self._engines[key] = self._begin(checkpoint, spec, setting)
        return self._engines[key]

    def _begin(self, checkpoint: str, spec: ModelSpec, setting: Setting) -> _Engine:
        platform, options = self._sides.platform, setting.engine
        driver = self._sides.start_serving(options, self._store.log("serving"), self._store.scratch())
        arguments = options.engine_arguments(spec, setting.scenario, platform)
        asked = LoadEngine(checkpoint, options.backend, options.runner, platform, arguments, setting.overlays)
        try:
            return _Engine(driver, setting.overlays, driver.send(asked, timeout=self._timeouts.start))
        except BaseException:
            driver.close()
            raise

    def _lay(self, engine: _Engine, overlays: tuple[str, ...]) -> None:
        if engine.overlays != overlays:
            engine.overlays = ()
            with self.dropping(engine.driver):
                engine.driver.ask(LayOverlays(overlays), timeout=self._timeouts.case)
            engine.overlays = overlays

    def _drop(self, key: tuple) -> None:
        engine = self._engines.pop(key)
        if engine.start:
            engine.driver.kill()  # it would hear that it is to end only when it has started
        engine.driver.close()
