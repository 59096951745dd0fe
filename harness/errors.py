"""The failures that the command line turns into exit codes. Each can be sent from one process to another."""

from __future__ import annotations

from functools import partial

from harness.text import quoted


class UsageError(ValueError):
    """Bad input: exit code 2, one line that names the field, the value and what is allowed."""

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


class DriverFailure(RuntimeError):
    """A driver process failed or died: exit code 3, the log is kept.

    ``stage`` is what it was doing ("start", "reference", "serving"); ``log`` is the end of its log;
    ``kind`` is the class of the exception, "ProbeError" where the mask could not be recovered (the
    driver goes on after that).
    """

    def __init__(self, message: str, *, stage: str, log: str = "", kind: str = ""):
        super().__init__(message)
        self.stage = stage
        self.log = log
        self.kind = kind

    @property
    def refused(self) -> bool:
        """The driver goes on as it was: it was asked to lay an overlay over an engine that it does not fit."""
        return self.kind == "ValueError"

    def __reduce__(self) -> tuple:
        return partial(DriverFailure, stage=self.stage, log=self.log, kind=self.kind), self.args
