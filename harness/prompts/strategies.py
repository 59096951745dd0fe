"""Hypothesis strategies for layouts, around the places where attention code breaks.

Public: other projects may import them. They shrink towards few segments, short text, small images.

>>> from harness.prompts.strategies import layouts, threshold_layouts
>>> threshold_layouts(window=8).example()  # doctest: +SKIP
Layout(segments=(Segment(form='t', soft=3, frames=1), Segment(form='i', soft=9, frames=1)))
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from harness.prompts.layout import LONGEST_FRAME, Layout, Segment


@dataclass(frozen=True)
class Borders:
    """Where the serving side cuts a prompt, in tokens: KV block, the kernel's query block and KV tile, chunk."""

    block: int = 32
    query_block: int = 8
    tile: int = 32
    chunk: int | None = None

    def positions(self, limit: int) -> list[int]:
        """Every border below ``limit`` and its neighbours, in order."""
        steps = {self.block, self.query_block, self.tile, *([self.chunk] if self.chunk else [])}
        at = {border + d for step in steps for border in range(step, limit, step) for d in (-1, 0, 1)}
        return sorted(p for p in at if 0 < p < limit)


def windows(largest: int = 32) -> st.SearchStrategy[int]:
    """Sliding windows in tokens: 1 and up, powers of two and their neighbours more often."""
    powers = [2**n + d for n in range(1, largest.bit_length()) for d in (-1, 0, 1)]
    return st.one_of(st.sampled_from(sorted({p for p in powers if 1 <= p <= largest})), st.integers(1, largest))


def layouts(
    *,
    max_tokens: int = 64,
    max_segments: int = 6,
    kinds: str = "tiv",
    longest: int | None = None,
    longest_frame: int = LONGEST_FRAME,
    unit: int = 1,
) -> st.SearchStrategy[Layout]:
    """Any layout of at most ``max_tokens`` tokens.

    ``kinds`` are the letters of the notation that may occur; ``longest`` bounds the soft tokens of an image, which are a
    multiple of ``unit``, ``longest_frame`` those of a video's frame.
    """
    longest = longest or max_tokens
    segments = st.lists(_segments(kinds, longest, longest_frame, unit), min_size=1, max_size=max_segments)
    return segments.map(_joined).filter(lambda layout: len(layout) <= max_tokens)


@st.composite
def threshold_layouts(
    draw: st.DrawFn,
    *,
    window: int,
    max_tokens: int = 64,
    borders: Borders = Borders(),
    kinds: str = "iIv",
    longest: int | None = None,
    longest_frame: int = LONGEST_FRAME,
    unit: int = 1,
) -> Layout:
    """Layouts whose spans and gaps sit at the threshold.

    One to three images of window - 1, window, window + 1, 2 * window or 1 soft tokens (or any other
    number), each beginning or ending at position 0, at a border (see `Borders`) or one token beside
    it, or 0 to window + 1 tokens after the image before it; text may follow the last. Where images have multiples of ``unit``
    soft tokens, those next to these numbers. A video's frame has at most ``longest_frame``.
    """
    longest = longest or max_tokens
    wanted = (1, 2, window - 1, window, window + 1, 2 * window)
    next_to = {n + d for n in wanted for d in (-n % unit, -(n % unit))}
    sizes = sorted(n for n in next_to if unit <= n <= longest) or [unit]
    at = borders.positions(max_tokens)
    image = st.tuples(
        st.sampled_from(kinds),
        st.one_of(st.sampled_from(sizes), _multiples(min(longest, 2 * window), unit)),
        st.integers(1, 2),
        st.one_of(st.just(0), st.integers(0, window + 1)),
        st.one_of(st.none(), st.sampled_from(at)) if at else st.none(),
        st.booleans(),
    )
    segments: list[Segment] = []
    used = 0
    for _ in range(draw(st.integers(1, 3))):
        form, soft, frames, gap, border, ends_there = draw(image)
        segment = Segment(form, min(soft, longest_frame), frames) if form == "v" else Segment(form, soft)
        if border is not None:
            wanted = border - used - {"i": 1, "I": 0, "v": 2}[form] - (segment.soft if ends_there else 0)
            gap = wanted if wanted >= 0 else gap
        if form == "I" and segments and segments[-1].form == "I":
            gap = max(gap, 1)
        if used + gap + len(segment.tokens()) > max_tokens:
            break
        segments += [Segment("t", gap)] * (gap > 0)
        segments.append(segment)
        used += gap + len(segment.tokens())
    after = draw(st.integers(0, max(0, min(window + 2, max_tokens - used))))
    segments += [Segment("t", after)] * (after > 0)
    return _joined(segments or [Segment("t", 1)])


def among(kinds: str, letters: str) -> str:
    """Those ``kinds`` that are among the ``letters`` that a model takes."""
    return "".join(kind for kind in kinds if kind in letters)


@st.composite
def long_layouts(
    draw: st.DrawFn,
    *,
    least: int = 128,
    most: int = 512,
    borders: Borders = Borders(),
    kinds: str = "iI",
    longest: int = 12,
    unit: int = 1,
) -> Layout:
    """Long texts with one or two small images behind the first ``least`` tokens, each of which begins at a border (see `Borders`)
    or one token beside it: what needs a third KV block, a fifth tile, or more bits for a position, at little cost. A layout has
    more than ``least`` and at most ``most`` tokens, an image at most ``longest``, a multiple of ``unit``."""
    room = longest + 2
    at = [place for place in borders.positions(most - room) if place > least]
    segments: list[Segment] = []
    used = 0
    for place in sorted(draw(st.lists(st.sampled_from(at), min_size=1, max_size=2, unique=True))):
        segment = Segment(draw(st.sampled_from(kinds)), draw(_multiples(longest, unit)))
        gap = place - used - (segment.form == "i")
        if gap < 1:
            continue
        segments += [Segment("t", gap), segment]
        used += gap + len(segment)
    return Layout(tuple(segments))


def batches(layout: st.SearchStrategy[Layout], size: int = 4) -> st.SearchStrategy[list[Layout]]:
    """Requests served together in one engine step."""
    return st.lists(layout, min_size=1, max_size=size)


def _multiples(most: int, unit: int) -> st.SearchStrategy[int]:
    """Multiples of ``unit`` up to ``most``, and the first."""
    if unit == 1:
        return st.integers(1, most)
    return st.integers(1, max(1, most // unit)).map(unit.__mul__)


def _segments(kinds: str, longest: int, longest_frame: int, unit: int) -> st.SearchStrategy[Segment]:
    soft = st.integers(1, longest)
    image = _multiples(longest, unit)
    frame = st.integers(1, min(max(1, longest // 4), longest_frame))
    forms = {
        "t": st.builds(Segment, st.just("t"), soft),
        "i": st.builds(Segment, st.just("i"), image),
        "I": st.builds(Segment, st.just("I"), image),
        "a": st.builds(Segment, st.just("a"), soft),
        "v": st.builds(Segment, st.just("v"), frame, st.integers(1, 3)),
    }
    return st.one_of([forms[kind] for kind in kinds])


def _joined(segments: list[Segment]) -> Layout:
    """Neighbouring texts become one, and bare images that touch are kept apart by a token of text."""
    joined: list[Segment] = []
    for segment in segments:
        if joined and segment.form == joined[-1].form == "t":
            joined[-1] = Segment("t", joined[-1].soft + segment.soft)
        elif joined and segment.form == joined[-1].form == "I":
            joined += [Segment("t", 1), segment]
        else:
            joined.append(segment)
    return Layout(tuple(joined))
