"""The layout of a text that went through a processor is read back from the kinds of its tokens."""

from __future__ import annotations

import pytest

from harness.prompts.layout import Layout
from harness.verification.read_back import read_back


def kinds(layout: str) -> list[str]:
    return [token.kind for token in Layout.parse(layout).tokens]


@pytest.mark.parametrize(
    ("layout", "frames"),
    [("t3 i5 t4 i12 t3", []), ("t2 a6 t1 a1", []), ("v2x7", [2]), ("t2 i3 v3x4 t5", [3]), ("t1 v2x7 v2x7 a3", [2, 2])],
)
def test_a_layout_comes_back(layout: str, frames: list[int]) -> None:
    assert " ".join(map(str, read_back(kinds(layout), frames))) == layout


def test_a_time_of_several_tokens_is_text_before_the_frame() -> None:
    frame = ["text", "text", "text", "boi", "video", "video", "eoi"]
    assert " ".join(map(str, read_back(["text", *frame, *frame], [2]))) == "t3 v1x2 t2 v1x2"


def test_videos_that_are_alike_stay_two() -> None:
    found = read_back(kinds("v1x7 v1x7"), [1, 1])
    assert " ".join(map(str, found)) == "v1x7 v1x7"


def test_a_frame_without_its_time_is_no_layout() -> None:
    with pytest.raises(ValueError, match="no time before it"):
        read_back(["boi", "video", "eoi"], [1])
