"""The command line, run as people run it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass

from harness.drivers.process import ROOT


@dataclass(frozen=True)
class Done:
    """How a command ended; ``seconds`` are those that processors worked on it, whatever else they had to do."""

    code: int
    out: str
    err: str
    seconds: float


def harness(*words: str) -> Done:
    before = _worked()
    command, wide = [sys.executable, "-m", "harness", *words], {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=wide, timeout=180)
    return Done(done.returncode, done.stdout, done.stderr, _worked() - before)


def _worked() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
