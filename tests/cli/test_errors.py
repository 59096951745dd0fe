"""What fails in a worker is told in the process that started it."""

from __future__ import annotations

import pickle

import pytest

from harness.errors import DriverFailure, EnvironmentFailure, FailureKind, UsageError

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
