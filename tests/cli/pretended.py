"""The command line with answers that need no engine: all else, workers and signals too, is real.

``python -m tests.cli.pretended SECONDS COMMAND ...`` takes so long for each answer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from harness.campaigns.mutation_matrix import MutantOutcome
from harness.cli.nightly import _started as start
from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from tests.cli.replacing import run
from tests.report.results import failed, result

SECONDS = "PRETENDED_SECONDS"
DIES = "guard-half-window"
"""A mutant whose search kills the process that it is in."""
SURVIVES = "no-registration"
DIVERGES = "image-last"
"""The case that diverges."""
FAILS = "far-apart"


def wait() -> None:
    time.sleep(float(os.environ[SECONDS]))


def verify(session, case, setting, declared=(), *, spec=None) -> CaseResult:
    wait()
    if case.name == FAILS:
        return failed()
    if case.name == DIVERGES:
        return result(case=case.name, policy="causal", shift=0.5, setting=setting)
    return result(case=case.name, setting=setting)


def search(session, name: str, spec, base, examples: int, declared) -> Iterator[tuple[MutantOutcome, list[CaseResult]]]:
    if name == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    wait()
    caught = None if name == SURVIVES else "masks"
    outcome = MutantOutcome(
        name, "a fault", "triton v1 float32", caught, 3, ["t3 i9"] if caught else [], "they differ", "", 0.1
    )
    yield outcome, [result(case=name, policy="drop", shift=0.4)] if caught else []


def block(session, name: str, number: int, first: int, end: int, spec, base, batch: int) -> Iterator[list[dict]]:
    for index in range(first, end):
        wait()
        answer = {
            "setting": name,
            "block": number,
            "index": index,
            "layout": "t3 i5",
            "verdict": "PASS",
            "tokens": 10,
            "seconds": 0.1,
        }
        if index == 1 and name == "v1":
            answer |= {
                "verdict": Verdict.DIVERGED,
                "diagnosis": "they differ",
                "reproduce": "harness run --layout 't3 i5'",
            }
        yield [answer | {"ratio": 1.0, "error": 1e-6}]


def measure(session, spec, setting, tokens: int, batch: int, seconds: float) -> dict:
    wait()
    return {"tokens": tokens, "batch": batch, "layers": spec.layers, "layouts a minute": 100.0}


def started(words: list[str]) -> subprocess.Popen:
    """A part of a night that pretends too."""
    return start(["tests.cli.pretended", os.environ[SECONDS], *words[1:]])


if __name__ == "__main__":
    os.environ[SECONDS] = sys.argv[1]
    sys.exit(run("tests.cli.pretended", sys.argv[2:]))
