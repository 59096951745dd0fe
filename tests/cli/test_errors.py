"""What fails in a worker is told in the process that started it."""

from __future__ import annotations

import pickle

import pytest

from harness.compare.result import Failure
from harness.errors import DriverFailure, EnvironmentFailure, FailureKind, UsageError, kind_of

ERRORS = [
    UsageError("window", 0, "a window is at least 1 token"),
    UsageError.said("layout: '?' is not allowed", "prompt"),
    EnvironmentFailure("no vllm here"),
    DriverFailure("it died", stage="serving", log="the end", kind=FailureKind.PROBE),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was_sent(error: Exception) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error) and str(arrived) == str(error)
    assert vars(arrived) == vars(error)


OF_TORCH = (
    "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 79.18 GiB of which 1.29 GiB is free. "
    "Process 7 has 19.50 GiB memory in use. Including non-PyTorch memory, this process has 58.31 GiB memory in use. "
    "Of the allocated memory 50.00 GiB is allocated by PyTorch, and 7.25 GiB is reserved by PyTorch but unallocated. "
    "If reserved but unallocated "
    "memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation. See documentation"
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError(OF_TORCH), FailureKind.MEMORY),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            FailureKind.MEMORY,
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
            FailureKind.MEMORY,
        ),
        (MemoryError(), FailureKind.MEMORY),
        (
            RuntimeError("out of resource: shared memory, Required: 270336, Hardware limit: 232448"),
            FailureKind.UNFORESEEN,
        ),
        (UsageError("layout", "t1 out of memory", "something else"), FailureKind.USAGE),
    ],
)
def test_a_lack_of_memory_is_told_from_other_failures(error: Exception, kind: FailureKind) -> None:
    assert kind_of(error) is kind


def test_what_is_said_of_a_lack_of_memory_is_how_much_there_was_who_has_it_and_what_helps() -> None:
    reference, serving = (Failure(stage, FailureKind.MEMORY, OF_TORCH).said for stage in ("reference", "serving"))
    assert "of which 1.29 GiB is free. Process 7 has 19.50 GiB" in reference and "--reference-offload" in reference
    assert "7.25 GiB is reserved by PyTorch but unallocated; " in serving and "--reference-offload" not in serving
    assert "try setting" not in reference + serving
    assert Failure("reference", FailureKind.GONE, OF_TORCH).said == OF_TORCH
