"""Serving drivers that are started ahead: one waits, with all imported but the files of vLLM itself, for the next engine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.drivers.messages import AskImported, Done, ImportAhead, Sent
from harness.drivers.process import Driver
from harness.engines.vllm.options import EngineOptions
from harness.errors import DriverFailure
from harness.verification.interpreters import Interpreters
from harness.verification.workplace import Workplace

ANSWERS = 30.0
"""Seconds that a driver has to say what it imported."""


@dataclass(frozen=True)
class _Waiting:
    """A driver that imports ahead, and what it was started as."""

    driver: Driver
    python: str
    variables: dict[str, str]
    sent: Sent[Done]


@dataclass
class Spares:
    """At most one driver waits. The first engine that ended said what the next ones have to import. As a context manager: the one
    that waits ends with it."""

    timeout: float
    modules: tuple[str, ...] = ()
    _waiting: _Waiting | None = None
    _place: Workplace = field(default_factory=Workplace)
    _count: int = 0

    def __enter__(self) -> Spares:
        return self

    def __exit__(self, *exception: object) -> None:
        self._drop()
        self._place.close()

    def sides(self, serving_python: str, reference_python: str) -> Interpreters:
        """What a session runs: its next engine starts in the driver that waits, if that was started for it."""
        return _Ahead(reference_python, serving_python, spares=self)

    def start(self, serving_python: str, reference_python: str, options: EngineOptions) -> None:
        """Start the driver of the next engine, unless one waits for it. It imports beside whatever is done meanwhile."""
        sides = Interpreters(reference_python, serving_python)
        python, variables = serving_python, sides.variables(options)
        if not self.modules or options.mode != "eager":  # what compiles reads its configuration where it is imported
            return
        if self._waiting and (self._waiting.python, self._waiting.variables) == (python, variables):
            return
        self._drop()
        self._count += 1
        log = self._place.path / f"serving-{self._count}.log"
        driver = Driver(sides.engine.driver, "serving", python, log, variables, self._place.folder("t"))
        self._waiting = _Waiting(
            driver, python, variables, driver.send(ImportAhead(self.modules), timeout=self.timeout)
        )

    def taken(self, python: str, variables: dict[str, str]) -> Driver | None:
        """The driver that waits, when it has imported, if it was started as is asked for now and went well."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        if (waiting.python, waiting.variables) == (python, variables):
            with suppress(DriverFailure):
                waiting.driver.receive(waiting.sent, timeout=self.timeout)
                return waiting.driver
        waiting.driver.close()
        return None

    def _drop(self) -> None:
        if self._waiting:
            self._waiting.driver.close()
            self._waiting = None


class _Learning(Driver):
    """A driver that says, before it ends, what its engine imported."""

    spares: Spares

    def close(self) -> None:
        if self.alive and not self.spares.modules:
            with suppress(DriverFailure):
                self.spares.modules = self.ask(AskImported(), timeout=ANSWERS).modules
        super().close()


@dataclass(frozen=True)
class _Ahead(Interpreters):
    """Interpreters whose serving driver may be waiting already."""

    spares: Spares = field(default_factory=lambda: Spares(ANSWERS))

    def start_serving(self, options: EngineOptions, log: Path, scratch: Path) -> Driver:
        variables = self.variables(options)
        if waiting := self.spares.taken(self.serving_python, variables):
            return waiting
        started = _Learning(self.engine.driver, "serving", self.serving_python, log, variables, scratch)
        started.spares = self.spares
        return started
