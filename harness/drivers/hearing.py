"""A signal that came is heard, whatever the main thread waits for.

Python's handlers run in the main thread, between two of its instructions. A signal that another thread takes, or that comes
just before a wait begins, is noted, and the wait goes on; what a handler raises in a finaliser or in a weak reference's
callback is dropped. So a thread watches: a signal whose handler has not run within `PATIENCE`, or whose exception was dropped, is
sent to the main thread again, where it ends the wait.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

PATIENCE = 0.5
"""Seconds that a handler has to run; it usually takes less than a millisecond."""
_RAN, _DROPPED = 64, 128
"""Added to a signal's number in the pipe: its handler ran; what it raised was dropped."""


class Hearing:
    """Watches the main thread, in which it is made, from then on, for the signals that have this ``handler``, which calls
    `ran`. ``number_of`` says of an exception which signal's it is."""

    def __init__(self, handler: Callable, number_of: Callable[[BaseException | None], int | None]):
        self._handler = handler
        self._main = threading.get_ident()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        before = sys.unraisablehook

        def dropped(unraisable: sys.UnraisableHookArgs) -> None:
            number = number_of(unraisable.exc_value)
            if number is None:
                before(unraisable)
            else:
                self._note(number + _DROPPED)

        sys.unraisablehook = dropped
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def ran(self, number: int) -> None:
        """The handler of this signal runs."""
        self._note(number + _RAN)

    def _note(self, value: int) -> None:
        with suppress(BlockingIOError):
            os.write(self._write, bytes([value]))

    def _watch(self) -> None:
        unheard: set[int] = set()
        while True:
            ready, _, _ = select.select([self._read], [], [], PATIENCE if unheard else None)
            if not ready:
                for number in unheard:
                    signal.pthread_kill(self._main, number)
            for value in os.read(self._read, 4096) if ready else b"":
                (unheard.discard if value & _RAN else unheard.add)(value % _RAN)
            unheard = {number for number in unheard if signal.getsignal(number) is self._handler}
