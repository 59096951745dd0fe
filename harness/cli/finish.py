"""However a command ends, what it found is said and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.drivers.signals import Ended, unheeded
from harness.errors import EnvironmentFailure


@contextmanager
def finishing(say: Callable[[str], object], write: Callable[[str], object]) -> Iterator[None]:
    """Call ``say``, then ``write``, when the body ends, in whatever way; both are told what ended it early, "" if nothing did.
    Where nothing was found, nothing is to be written: what an earlier run has left is worth more.

    Raises:
        EnvironmentFailure: it cannot be written.
    """
    why = ""
    try:
        yield
    except Ended as ended:
        why = str(ended)
        raise
    except BaseException as error:
        why = f"stopped by {type(error).__name__}"
        raise
    finally:
        try:
            say(why)
        finally:
            with unheeded():
                _written(write, why)


def _written(write: Callable[[str], object], why: str) -> None:
    try:
        write(why)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        raise EnvironmentFailure(
            f"the report cannot be written:{place} {error.strerror or error}; what was found is said above"
        ) from error
