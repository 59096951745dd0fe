"""What stands at each position of a layout."""

from hypothesis import given

from harness.prompts.layout import Layout
from harness.prompts.strategies import layouts

SOFT = {"image": 1, "video": 2, "audio": 3}
any_layout = layouts(kinds="tiIva")


def names(text: str) -> list[str]:
    return [token.name for token in Layout.parse(text).tokens]


@given(any_layout)
def test_positions_count_from_zero_and_segments_come_in_order(layout: Layout) -> None:
    assert [token.position for token in layout.tokens] == list(range(len(layout)))
    numbers = [token.segment for token in layout.tokens]
    assert numbers == sorted(numbers) and set(numbers) == set(range(len(layout.segments)))


@given(any_layout)
def test_spans_cover_the_soft_tokens_and_nothing_else(layout: Layout) -> None:
    inside = [p for span in layout.spans for p in range(span.start, span.end + 1)]
    assert inside == [token.position for token in layout.tokens if token.kind in SOFT]
    assert len(set(inside)) == len(inside)
    for span in layout.spans:
        assert {layout.tokens[p].kind for p in range(span.start, span.end + 1)} == {span.kind}
        assert len(span) == layout.segments[span.segment].soft


@given(any_layout)
def test_there_is_a_span_for_each_image_clip_and_frame(layout: Layout) -> None:
    assert len(layout.spans) == sum(segment.frames for segment in layout.segments if segment.form != "t")


@given(any_layout)
def test_token_types_are_those_of_transformers(layout: Layout) -> None:
    assert layout.token_types == [SOFT.get(token.kind, 0) for token in layout.tokens]


@given(any_layout)
def test_names_of_soft_tokens_are_unique(layout: Layout) -> None:
    soft = [token.name for token in layout.tokens if token.kind in SOFT]
    assert len(set(soft)) == len(soft)


def test_images_are_wrapped_and_bare_images_are_not() -> None:
    assert [token.kind for token in Layout.parse("i2 I2").tokens] == ["boi", "image", "image", "eoi", "image", "image"]


def test_audio_is_wrapped_in_its_own_marks() -> None:
    assert [token.kind for token in Layout.parse("a2").tokens] == ["boa", "audio", "audio", "eoa"]


def test_each_frame_of_a_video_has_a_timestamp_and_marks() -> None:
    assert [token.kind for token in Layout.parse("v2x1").tokens] == ["text", "boi", "video", "eoi"] * 2


def test_names_count_images_and_frames_as_people_do() -> None:
    assert names("t1 i1 i2") == [
        "text",
        "boi",
        "image 1, soft token 1",
        "eoi",
        "boi",
        "image 2, soft token 1",
        "image 2, soft token 2",
        "eoi",
    ]
    assert names("v2x1")[2] == "video 1, frame 1, soft token 1"
    assert names("v2x1")[6] == "video 1, frame 2, soft token 1"


def test_bare_and_wrapped_images_are_counted_together() -> None:
    assert names("I1 t1 i1")[3] == "image 2, soft token 1"
