"""The failures that the command line turns into exit codes. Each can be sent from one process to another."""

from __future__ import annotations

import errno
import os
from enum import StrEnum
from functools import partial
from typing import ClassVar

from harness.text import quoted


class FailureKind(StrEnum):
    """What a failure is, by which those who handle it tell it from others."""

    USAGE = "usage"
    """Bad input."""
    CHECKPOINT = "checkpoint"
    """A checkpoint whose tensors are not those of its model."""
    REFUSED = "refused"
    """An overlay does not fit this engine."""
    PROBE = "probe"
    """A mask could not be recovered from what the kernel gave."""
    UNSUPPORTED = "unsupported"
    """A prompt that a reference has no way to compute."""
    INCOMPARABLE = "incomparable"
    """Both sides answered, but there is nothing to judge serving by."""
    MEMORY = "memory"
    """The machine or its GPU has not the memory for it."""
    UNFORESEEN = "unforeseen"
    """Any other exception of a driver."""
    GONE = "gone"
    """A driver's process has ended."""
    TIMEOUT = "timeout"
    """A driver did not answer, or took no request, in time."""
    PROTOCOL = "protocol"
    """A driver that speaks another protocol than the harness."""

    @property
    def leaves_driver_whole(self) -> bool:
        """Whether the driver that failed goes on as it was."""
        return self in (FailureKind.USAGE, FailureKind.REFUSED, FailureKind.PROBE, FailureKind.UNSUPPORTED)


NO_MEMORY = (
    os.strerror(errno.ENOMEM),
    "out of memory",
    "ALLOC_FAILED",
    "can't allocate memory",
    "less than desired GPU memory utilization",
    "less than desired CPU memory utilization",
    "No available memory for the cache blocks",
    "larger than the available KV cache memory",
)
"""What the system, torch, CUDA's libraries and vLLM say where there is not enough memory. (Triton's "out of resource" is about
something else: the shared memory of a kernel.)"""


def kind_of(error: BaseException) -> FailureKind:
    """What an exception says that it is."""
    kind = getattr(error, "kind", None)
    if isinstance(kind, FailureKind):
        return kind
    return FailureKind.MEMORY if isinstance(error, MemoryError) else kind_by_words(str(error))


def kind_by_words(text: str) -> FailureKind:
    """What the words of an unforeseen failure say that it is."""
    return FailureKind.MEMORY if any(sign in text for sign in NO_MEMORY) else FailureKind.UNFORESEEN


class UsageError(ValueError):
    """Bad input: exit code 2, one line that names the field, the value and what is allowed."""

    kind: ClassVar = FailureKind.USAGE

    def __init__(self, field: str, value: object, allowed: str):
        super().__init__(f"{field}: {quoted(value)} is not allowed; {allowed}")
        self.field = field

    @classmethod
    def said(cls, message: str, field: str) -> UsageError:
        """The error that says exactly ``message``."""
        error = cls.__new__(cls, message)
        error.field = field
        return error

    def __reduce__(self) -> tuple:
        return UsageError.said, (str(self), self.field)


class EnvironmentFailure(RuntimeError):
    """Something that this machine lacks: exit code 3, one line that says how to mend it."""


class CheckpointError(RuntimeError):
    """A checkpoint whose tensors are not those of its model: nothing that is computed from it means anything."""

    kind: ClassVar = FailureKind.CHECKPOINT


class UnsupportedPrompt(RuntimeError):
    """A prompt that a reference would silently take for another one, or has no room for; one line says why."""

    kind: ClassVar = FailureKind.UNSUPPORTED


class OverlayRefused(RuntimeError):
    """An overlay that does not fit the engine over which it was to be laid; one line says why."""

    kind: ClassVar = FailureKind.REFUSED


class DriverFailure(RuntimeError):
    """A driver process failed or died: exit code 3, the log is kept.

    ``stage`` is which side failed ("reference", "serving"); ``kind`` is what the failure is; ``log`` is the end of the
    driver's log.
    """

    def __init__(self, message: str, *, stage: str, kind: FailureKind = FailureKind.UNFORESEEN, log: str = ""):
        super().__init__(message)
        self.stage = stage
        self.kind = kind
        self.log = log

    def __reduce__(self) -> tuple:
        return partial(DriverFailure, stage=self.stage, kind=self.kind, log=self.log), self.args
