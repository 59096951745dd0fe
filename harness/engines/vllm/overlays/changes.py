"""What overlays changed in a worker, so that it can be put back."""

from __future__ import annotations

from contextlib import ExitStack

_ABSENT = object()


class Changes:
    """Sets attributes and remembers what they were; `undo` puts everything back, the last change first."""

    def __init__(self) -> None:
        self._undo = ExitStack()

    def set(self, owner: object, name: str, value: object) -> None:
        """Set an attribute of an object, class or module."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)
        self._undo.callback(_put_back, owner, name, before)

    def enter(self, context):
        """Hold a context manager until `undo`, for instance a temporary directory."""
        return self._undo.enter_context(context)

    def undo(self) -> None:
        self._undo.close()
        self._undo = ExitStack()


def _put_back(owner: object, name: str, before: object) -> None:
    if before is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, before)
