"""A terminal that shows what a text has in it, and does not do what the text says."""

from __future__ import annotations

from collections.abc import Iterable

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from harness.report.text import plain


class Console(rich.console.Console):
    """rich's, but for control characters: those in a text are made visible, its own colours and movements stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain(text), style, control)
