"""The command line with real drivers, which start in a moment, instead of engines: sessions, workers, signals and files are real.

``python -m tests.cli.driven SECONDS COMMAND ...`` takes so long for each answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from harness.campaigns.mutation_matrix import MutantOutcome
from harness.cli.nightly import _started as start
from harness.compare.result import CaseResult
from harness.drivers.process import Driver
from harness.errors import DriverFailure
from harness.verification.engine_pool import _Engine
from tests.cli.replacing import run
from tests.drivers.parent import Child, Rest, Spill
from tests.report.results import failed, result

SECONDS = "DRIVEN_SECONDS"
MODULE = "tests.drivers.parent"


def answered(session) -> None:
    """Have the session's driver, which has a child of its own, rest; raises DriverFailure if it dies."""
    running = session.engines._engines
    if MODULE not in running:
        driver = Driver(
            MODULE, "serving", sys.executable, session.captures.log("serving"), scratch=session.captures.scratch()
        )
        running[MODULE] = _Engine(driver, (), start=None)
        driver.ask(Child(), timeout=60)
        driver.ask(Spill(wide=10, lines=10), timeout=60)
    driver = running[MODULE].driver
    with session.engines.dropping(driver):
        driver.ask(Rest(float(os.environ[SECONDS])), timeout=60)


def verify(session, case, setting, declared=(), *, spec=None) -> CaseResult:
    try:
        answered(session)
    except DriverFailure as error:
        return failed(error.log, str(error))
    return result(case=case.name, setting=setting)


def cases(session, some, heeded, spec) -> Iterator[CaseResult]:
    for case, setting in some:
        yield verify(session, case, setting)


def search(session, name: str, spec, base, examples: int, declared) -> Iterator[tuple[MutantOutcome, list[CaseResult]]]:
    answered(session)
    yield (
        MutantOutcome(name, "a fault", "triton v1 float32", "masks", 3, ["t3 i9"], "they differ", "", 0.1),
        [result(case=name, policy="drop")],
    )


def block(session, name: str, number: int, first: int, end: int, spec, base, batch: int) -> Iterator[list[dict]]:
    for index in range(first, end):
        answered(session)
        yield [{"setting": name, "block": number, "index": index, "layout": "t3 i5", "verdict": "PASS", "tokens": 10,
                "seconds": 0.1, "ratio": 1.0, "error": 1e-6}]  # fmt: skip


def measure(session, spec, setting, tokens: int, batch: int, seconds: float) -> dict:
    row = {"tokens": tokens, "batch": batch, "layers": spec.layers}
    try:
        answered(session)
    except DriverFailure as error:
        return {**row, "error": str(error)}
    return {**row, "layouts a minute": 100.0}


def stream(session, spec, setting, tokens: int, batch: int, seconds: float, barrier) -> Iterator[float]:
    answered(session)
    yield 100.0


def started(words: list[str]) -> subprocess.Popen:
    """A part of a night that is driven too; its properties are those of `tests.cli.few_properties`."""
    if words[0] == "harness":
        return start(["tests.cli.driven", os.environ[SECONDS], *words[1:]])
    return start(["pytest", "tests/cli/few_properties.py", *words[words.index("--harness-profile") :]])


if __name__ == "__main__":
    os.environ[SECONDS] = sys.argv[1]
    sys.exit(run("tests.cli.driven", sys.argv[2:]))
