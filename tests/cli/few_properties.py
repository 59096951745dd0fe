"""Properties that a night of the tests runs: two take a while, one does not hold, one gets no answer."""

from __future__ import annotations

import os
import time

import pytest

from tests.report.results import failed, result

EACH = 20
SECONDS = 0.4


@pytest.mark.parametrize("number", range(EACH))
def test_one(number: int, harness_recorder) -> None:
    time.sleep(SECONDS)
    harness_recorder.append(result(case=f"one {number}"))


@pytest.mark.parametrize("number", range(EACH))
def test_other(number: int, harness_recorder) -> None:
    time.sleep(SECONDS)
    harness_recorder.append(result(case=f"other {number}"))


def test_does_not_hold() -> None:
    assert EACH == 0


def test_dies() -> None:
    os._exit(7)


def test_gets_no_answer(harness_expect) -> None:
    harness_expect([failed(message="it died")])
