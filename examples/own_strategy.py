"""A property of one's own over generated layouts; no engine is needed: pytest examples/own_strategy.py

`strategies.layouts` and `strategies.threshold_layouts` draw layouts, which shrink to short ones; they are combined with
Hypothesis's own strategies like any other.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness import POLICIES, Layout, Segment, strategies

WINDOW = 8
PAIRS = st.builds(
    lambda layout, image: Layout((*layout.segments, Segment("t", 2), image)),
    strategies.layouts(max_tokens=32, kinds="ti"),
    st.builds(Segment, st.just("i"), st.integers(1, 2 * WINDOW)),
)
"""Any layout of text and images, two tokens of text, and an image of up to two windows."""


def mask(layout: Layout, policy: str) -> np.ndarray:
    """The mask that a policy intends for a sliding layer: (queries, keys)."""
    spans = [(span.start, span.end) for span in layout.spans]
    return POLICIES[policy].mask(len(layout), spans, WINDOW, sliding=True)


@given(strategies.threshold_layouts(window=WINDOW) | PAIRS)
def test_dropping_long_images_shows_only_where_there_is_one(layout: Layout) -> None:
    longer = any(len(span) > WINDOW for span in layout.spans)
    assert np.array_equal(mask(layout, "clamp"), mask(layout, "drop")) is not longer


@given(PAIRS)
def test_no_token_of_an_image_sees_beyond_the_window(layout: Layout) -> None:
    query, key = np.nonzero(mask(layout, "clamp"))
    assert (query - key).max() < WINDOW
