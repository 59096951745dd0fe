"""Sessions beside each other take the GPUs in turn."""

from __future__ import annotations

import sys

import pytest

from harness.verification import gpus


@pytest.mark.parametrize(
    ("there", "visible", "taken"),
    [
        (0, None, [None, None, None]),
        (0, "0", [None, None, None]),
        (1, None, ["0", "0", "0"]),
        (2, None, ["0", "1", "0"]),
        (2, "5,3", ["5", "3", "5"]),
        (1, " 5, -1,3", ["5", "5", "5"]),
    ],
)
def test_workers_take_the_gpus_in_turn(
    monkeypatch: pytest.MonkeyPatch, there: int, visible: str | None, taken: list
) -> None:
    monkeypatch.setattr(gpus, "inspect", lambda python: {"gpus": there})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpus.in_turn(worker, sys.executable) for worker in range(3)] == taken
