"""Layouts are read from and written in one notation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.prompts.layout import Layout, Segment

counts = st.integers(1, 99)
segments = st.one_of(
    st.builds(Segment, st.sampled_from("tiIa"), counts),
    st.builds(Segment, st.just("v"), counts, st.integers(1, 9)),
)


@given(st.lists(segments, min_size=1).map(tuple))
def test_what_is_written_is_read_back(given_segments: tuple[Segment, ...]) -> None:
    layout = Layout(given_segments)
    assert Layout.parse(str(layout)) == layout


@given(st.lists(segments, min_size=1).map(tuple), st.sampled_from([" ", "  ", "\n", "\t "]))
def test_any_blanks_part_segments(given_segments: tuple[Segment, ...], blank: str) -> None:
    assert Layout.parse(f"{blank}{blank.join(map(str, given_segments))}{blank}").segments == given_segments


@pytest.mark.parametrize(
    "word", ["x5", "t", "5", "t0", "i-1", "t05", "v3", "v0x3", "v2x", "i2x3", "T3", "t3,i5", "t1.5", "i٣"]
)
def test_a_bad_segment_is_named_with_the_forms_that_are_allowed(word: str) -> None:
    with pytest.raises(UsageError) as error:
        Layout.parse(f"t3 {word} i5")
    assert error.value.field == "layout segment"
    assert repr(word) in str(error.value)
    assert "t3 (text), i5 (image), I5 (image without boi/eoi), v2x7 (video), a6 (audio)" in str(error.value)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_is_not_a_layout(text: str) -> None:
    with pytest.raises(UsageError, match=r"layout: .* is not allowed; segments are t3"):
        Layout.parse(text)
