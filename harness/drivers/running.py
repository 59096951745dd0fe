"""What the harness needs of a driver that runs. `harness.drivers.process.Driver` is one."""

from __future__ import annotations

from typing import Protocol, TypeVar

from harness.drivers.messages import Request, Sent

A = TypeVar("A")


class RunningDriver(Protocol):
    """Answers requests in their order, until it ends. `Driver` says what each of these does and raises."""

    @property
    def alive(self) -> bool: ...

    def ask(self, request: Request[A], *, timeout: float, about: str = "") -> A: ...

    def send(self, request: Request[A], *, timeout: float, about: str = "") -> Sent[A]: ...

    def receive(self, sent: Sent[A], *, timeout: float) -> A: ...

    def close(self) -> None: ...
