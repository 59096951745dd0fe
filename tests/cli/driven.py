"""The command line with real drivers, which start in a moment, instead of engines: sessions, workers, signals and files are real.

``python -m tests.cli.driven SECONDS ANSWERS COMMAND ...`` takes so long for each answer and adds a line to ANSWERS for it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.campaigns.mutation_matrix import MutantOutcome
from harness.compare.result import CaseResult
from harness.drivers.process import Driver
from harness.errors import DriverFailure
from harness.verification.engine_pool import _Engine
from tests.drivers.parent import Child, Rest, Spill
from tests.report.results import failed, result

SECONDS, ANSWERS = "DRIVEN_SECONDS", "DRIVEN_ANSWERS"
MODULE = "tests.drivers.parent"


def answered(session) -> None:
    """Have the session's driver, which has a child of its own, rest; raises DriverFailure if it dies."""
    running = session.engines._engines
    if MODULE not in running:
        driver = Driver(
            MODULE, "serving", sys.executable, session.captures.log("serving"), scratch=session.captures.scratch()
        )
        running[MODULE] = _Engine(driver, ())
        driver.ask(Child(), timeout=60)
        driver.ask(Spill(wide=10, lines=10), timeout=60)
    driver = running[MODULE].driver
    with session.engines.dropping(driver):
        driver.ask(Rest(float(os.environ[SECONDS])), timeout=60)


def counted(answer: str) -> None:
    with Path(os.environ[ANSWERS]).open("a") as answers:
        answers.write(f"{answer} {time.time()}\n")


def verify(session, case, setting, declared=(), *, spec=None) -> CaseResult:
    try:
        answered(session)
    except DriverFailure as error:
        return failed(error.log, str(error))
    counted(case.name)
    return result(case=case.name, setting=setting)


def search(session, name: str, spec, base, examples: int, declared) -> Iterator[tuple[MutantOutcome, list[CaseResult]]]:
    answered(session)
    counted(name)
    yield (
        MutantOutcome(name, "a fault", "triton v1 float32", "masks", 3, ["t3 i9"], "they differ", "", 0.1),
        [result(case=name, policy="drop")],
    )


def block(session, name: str, number: int, first: int, end: int, spec, base, batch: int) -> Iterator[list[dict]]:
    for index in range(first, end):
        answered(session)
        counted(f"{name} {index}")
        yield [{"setting": name, "block": number, "index": index, "layout": "t3 i5", "verdict": "PASS", "tokens": 10,
                "seconds": 0.1, "ratio": 1.0, "error": 1e-6}]  # fmt: skip


def measure(session, spec, setting, tokens: int, batch: int, seconds: float) -> dict:
    row = {"tokens": tokens, "batch": batch, "layers": spec.layers}
    try:
        answered(session)
    except DriverFailure as error:
        return {**row, "error": str(error)}
    counted(str(tokens))
    return {**row, "layouts a minute": 100.0}


def stream(session, spec, setting, tokens: int, batch: int, seconds: float, barrier) -> Iterator[float]:
    answered(session)
    yield 100.0


def main() -> int:
    os.environ[SECONDS], os.environ[ANSWERS] = sys.argv[1:3]
    sys.argv[:] = ["harness", *sys.argv[3:]]
    import harness.campaigns.bench
    import harness.cli.bench
    import harness.cli.mutants
    import harness.cli.soak
    import harness.verification.verify
    from harness.cli import main as run
    from tests.cli import driven

    harness.verification.verify.verify = driven.verify
    harness.cli.mutants._search = driven.search
    harness.cli.soak.block = driven.block
    harness.campaigns.bench.measure = driven.measure
    harness.cli.bench._stream = driven.stream
    return run()


if __name__ == "__main__":
    sys.exit(main())
