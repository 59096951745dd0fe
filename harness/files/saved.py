"""Files of folders, as they are saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from watchfiles import Change, DefaultFilter, watch

STEP = 50
"""Milliseconds without a change after which what was saved together is told."""


def _left(changed: set[tuple[Change, str]]) -> set[Path]:
    """Those that are other than before: not what was made and removed again, as editors do beside a file that they save."""
    made = {path for change, path in changed if change is Change.added}
    removed = {path for change, path in changed if change is Change.deleted}
    gone = {path for path in made & removed if not os.path.lexists(path)}
    return {Path(path) for _, path in changed if path not in gone}


@contextmanager
def saved(folders: Sequence[Path]) -> Iterator[Callable[[], list[Path]]]:
    """A function that waits until files in ``folders`` are saved, made or removed, and returns all that were since it returned
    last. What Python, git and editors write beside them is left out.

    A thread of its own watches, so that signals reach who waits.
    """
    came: SimpleQueue[set[Path]] = SimpleQueue()
    ending, ready = Event(), Event()

    def run() -> None:
        changes = watch(
            *folders,
            watch_filter=DefaultFilter(),
            step=STEP,
            stop_event=ending,
            rust_timeout=200,
            yield_on_timeout=True,
        )
        for changed in changes:
            ready.set()
            if left := _left(changed):
                came.put(left)

    def next_ones() -> list[Path]:
        found = came.get()
        while not came.empty():
            found |= came.get()
        return sorted(found)

    thread = Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield next_ones
    finally:
        ending.set()
        thread.join()
