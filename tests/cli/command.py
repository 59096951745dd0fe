"""The command line, run as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

from harness.drivers.process import ROOT


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    seconds: float


def harness(*words: str) -> Done:
    start = time.monotonic()
    command, wide = [sys.executable, "-m", "harness", *words], {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=wide, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start)
