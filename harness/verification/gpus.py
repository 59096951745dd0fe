"""Which GPU each of several sessions that work beside each other takes."""

from __future__ import annotations

import os

from harness.compare.setting import Setting
from harness.verification.interpreters import inspect, platform_of


def in_turn(worker: int, python: str) -> str | None:
    """The GPU of a worker, as in `CUDA_VISIBLE_DEVICES`, when workers take those that ``python`` may use in turn; none
    where there is no GPU.

    Raises:
        EnvironmentFailure: ``python`` is not an interpreter.
    """
    count = inspect(python)["gpus"]
    if not count:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [*map(str.strip, visible.split(","))][:count] if visible else [str(number) for number in range(count)]
    return gpus[worker % len(gpus)]


def ranks(setting: Setting, python: str) -> int:
    """How many GPUs an engine of ``python`` takes; 0 where it serves on a CPU."""
    return setting.engine.ranks if platform_of(python) == "cuda" else 0
