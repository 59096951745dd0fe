"""A cell: work that is done on one machine from its begin to its end. What is told of it, and who runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.errors import UsageError

GIB = 1 << 30
_NUMBER = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Needs:
    """What a worker takes of a node as long as it lives: ``cpus``, ``gpus``, a kind of ``gpu`` as Ray names it (H100, L4), and
    ``memory`` in bytes."""

    cpus: float = 1
    gpus: float = 0
    gpu: str = ""
    memory: int = 0

    @classmethod
    def parse(cls, text: str, gpus: float = 0) -> Needs:
        """Of ``cpus=4 gpus=1 gpu=H100 memory=32`` (GiB), each word at most once; without ``gpus`` it is the number given here, and
        one with a kind of GPU.

        Raises:
            UsageError: it is not of this form.
        """
        pairs = [word.split("=", 1) for word in text.split() if "=" in word]
        words = dict(pairs)
        kind = words.pop("gpu", "")
        numbers = {name: _number(value) for name, value in words.items()}
        taken = numbers.get("gpus", max(gpus, 1) if kind else gpus)
        refused = (
            len(dict(pairs)) < len(text.split())
            or not numbers.keys() <= {"cpus", "gpus", "memory"}
            or min(numbers.values(), default=0) < 0
            or ("gpu=" in text and not _KIND.fullmatch(kind))
            or (kind and not taken)
            or (taken > 1 and taken != int(taken))
        )
        if refused:
            raise UsageError("needs", text, "words such as cpus=4 gpus=1 gpu=H100 memory=32 (GiB), each at most once")
        return cls(numbers.get("cpus", 1), taken, kind, int(numbers.get("memory", 0) * GIB))

    def __str__(self) -> str:
        words = [f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"] if self.cpus else []
        words += [f"{self.gpus:g} {self.gpu or 'GPU'}{'s' * (self.gpus > 1)}"] if self.gpus else []
        words += [f"{self.memory / GIB:g} GiB"] if self.memory else []
        return ", ".join(words) or "nothing"


@dataclass(frozen=True)
class Cell:
    """``work(entered, *arguments)`` yields what is found, on a worker that has ``entered``. All of it can be pickled.

    ``name`` is for people. Cells of one ``engine`` are served by the same engine: a worker that has it takes them first.
    """

    name: str
    work: Callable[..., Iterable]
    arguments: tuple
    engine: Hashable = None
    needs: Needs = field(default=Needs())


@dataclass(frozen=True)
class Found:
    """One item that a cell has found ``where``: a node's name and address, "" for a process of this machine."""

    cell: Cell
    item: Any
    where: str = ""


@dataclass(frozen=True)
class Over:
    """A cell has ended; ``failure`` is what its work raised, or DriverFailure where the worker died or none was to be had."""

    cell: Cell
    failure: Exception | None = None
    where: str = ""


@dataclass(frozen=True)
class Lost:
    """A cell was lost with the node that it was on, and is run again from its begin: what it found is found anew."""

    cell: Cell
    where: str


class Packed(Protocol):
    """A folder of the command's machine, to be had wherever a cell runs."""

    def folder(self) -> Path:
        """The folder, on the machine that asks."""


@dataclass(frozen=True)
class Here:
    """A folder that is where it is asked for."""

    path: Path

    def folder(self) -> Path:
        return self.path


class Machines(Protocol):
    """What runs cells."""

    def run(
        self, cells: Sequence[Cell], enter: Callable[..., AbstractContextManager], *arguments: Any
    ) -> Generator[Found | Over | Lost, None, None]:
        """What becomes of ``cells``, as it comes: for each any number of `Found` and `Lost`, then one `Over`.

        Each worker enters ``enter(number, *arguments)``; workers beside each other on a machine have numbers from 0 on. A
        generator that is closed early, or in whose body something is raised, ends every worker and what it started.

        Raises:
            EnvironmentFailure: the machines cannot run this.
        """

    def packed(self, folder: Path) -> Packed:
        """A folder that cells are given as an argument; it is not changed any more."""

    def named(self, python: str) -> str:
        """How a cell names the interpreter or release that a command was given."""


def _number(text: str) -> float:
    """A number up to a million in ASCII digits; -1 for what is none."""
    return float(text) if _NUMBER.fullmatch(text) else -1
