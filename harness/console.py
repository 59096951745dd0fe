"""A terminal that shows what a text has in it, and does not do what the text says.

Rich takes square brackets for markup, ``:name:`` for a picture and colours what looks like a number or a path; paths, layouts,
settings and requirements have all of that. Here a string is shown as it stands, and style is given as an argument or a `Text`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from harness.text import plain

RARELY = 10.0


class Console(rich.console.Console):
    """rich's, but for markup and control characters: those in a text are shown, its own colours and movements stay."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """A line of words stays a line, so that it can be copied; tables and panels keep to the terminal's width."""
        options.setdefault("soft_wrap", all(isinstance(one, str | Text) for one in objects))
        super().print(*objects, **options)

    def working(self, what: str) -> Status:
        """A spinner beside ``what`` is being done, as a context manager."""
        return self.status(Text(what))

    def telling(self, status: Status, what: str) -> Callable[[str], None]:
        """Shows how far it is beside ``what`` is being done; without a terminal in a line, at most every `RARELY` seconds."""
        last = time.monotonic()

        def told(text: str) -> None:
            nonlocal last
            if self.is_terminal:
                status.update(Text(f"{what}: {text}"))
            elif time.monotonic() - last >= RARELY:
                last = time.monotonic()
                self.print(text)

        return told

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain(text), style, control)


def progress_bar() -> Progress:
    """A bar on standard error whose tasks' descriptions are shown as they stand."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))
