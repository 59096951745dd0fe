"""How long a part of a step takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of what runs under `on`. On a GPU events of its stream are taken, since a kernel runs after the
    code that launches it."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._spans: list[tuple] = []

    @contextmanager
    def on(self) -> Iterator[None]:
        start = self._now()
        yield
        self._spans.append((start, self._now()))

    def _now(self) -> float | torch.cuda.Event:
        if not self._gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> float:
        """The sum; on a GPU this waits for the end of the last part."""
        if not self._gpu:
            return sum(end - start for start, end in self._spans)
        for _, end in self._spans[-1:]:
            end.synchronize()
        return sum(start.elapsed_time(end) for start, end in self._spans) / 1000
