"""What the harness needs of a driver that runs. `harness.drivers.process.Driver` is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from harness.drivers.messages import Request, Sent

A = TypeVar("A")
Told = Callable[[str], None]
"""Hears, in words, how far a driver is with a request."""


def ignored(text: str) -> None:
    """Hears nothing."""


class RunningDriver(Protocol):
    """Answers requests in their order, until it ends. `Driver` says what each of these does and raises."""

    @property
    def alive(self) -> bool: ...

    def ask(self, request: Request[A], *, timeout: float, about: str = "", told: Told = ignored) -> A: ...

    def send(self, request: Request[A], *, timeout: float, about: str = "") -> Sent[A]: ...

    def receive(self, sent: Sent[A], *, timeout: float, told: Told = ignored) -> A: ...

    def close(self) -> None: ...

    def kill(self) -> None: ...
