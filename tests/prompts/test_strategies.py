"""The strategies that other projects may import give what their docstrings say."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from harness.prompts.layout import Layout
from harness.prompts.strategies import Borders, layouts, long_layouts, threshold_layouts, windows


def has_touching_bare_images(layout: Layout) -> bool:
    forms = [segment.form for segment in layout.segments]
    return any(pair == ("I", "I") for pair in pairwise(forms))


@given(layouts(max_tokens=40, kinds="tiIva", longest=9))
def test_layouts_keep_their_bounds(layout: Layout) -> None:
    assert 1 <= len(layout) <= 40
    assert all(len(span) <= 9 for span in layout.spans)
    assert not has_touching_bare_images(layout)


@given(windows(32))
def test_windows_keep_their_bounds(window: int) -> None:
    assert 1 <= window <= 32


@given(st.data(), st.integers(1, 12))
def test_threshold_layouts_keep_their_bounds(data: st.DataObject, window: int) -> None:
    layout = data.draw(threshold_layouts(window=window, max_tokens=48))
    assert 1 <= len(layout) <= 48
    assert not has_touching_bare_images(layout)


@given(long_layouts())
def test_long_layouts_are_long_and_sparse(layout: Layout) -> None:
    assert 128 < len(layout) <= 512 and 1 <= len(layout.spans) <= 2
    assert all(span.start > 128 and len(span) <= 12 for span in layout.spans)
    borders = set(Borders().positions(512))
    assert all(span.start in borders for span in layout.spans)


@pytest.mark.parametrize("soft", [1, 7, 8, 9, 16])
def test_threshold_layouts_reach_every_length_at_the_guard(soft: int) -> None:
    reached(lambda layout: any(len(span) == soft for span in layout.spans))


@pytest.mark.parametrize("border", [pytest.param(8, marks=pytest.mark.slow), 32])
@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_threshold_layouts_begin_spans_at_and_beside_borders(border: int, beside: int) -> None:
    reached(lambda layout: any(span.start == border + beside for span in layout.spans))


def test_borders_are_those_of_block_query_block_tile_and_chunk_with_their_neighbours() -> None:
    borders = Borders(block=12, query_block=10, tile=12, chunk=7)
    assert borders.positions(16) == [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_shrunk_to_the_smallest_layout(seed: int) -> None:
    layout = reached(lambda layout: any(len(span) > 8 for span in layout.spans), seed)
    assert str(layout) in ("i9", "I9")


def reached(wanted: Callable[[Layout], bool], seed: int = 0) -> Layout:
    """The smallest layout that is wanted; raises NoSuchExample if none comes."""
    thorough = settings(max_examples=2000, database=None)
    return find(threshold_layouts(window=8), wanted, settings=thorough, random=Random(seed))
