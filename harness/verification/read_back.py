"""The layout that the reference's processor made of a text with files, read back from its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from harness.captures.read import Capture
from harness.prompts.layout import Layout, Segment

FORMS = {"text": "t", "image": "i", "video": "v", "audio": "a"}
AROUND = {"boi", "eoi", "boa", "eoa"}


def layout_of(capture: Capture) -> Layout:
    """The layout of a capture of the reference.

    Raises:
        ValueError: its tokens or their types are not those of any layout.
    """
    kinds = {number: kind for kind, number in capture.facts.special.items()}
    processed = capture.prompt.processed
    frames = [len(video.frames) for video in processed.videos] if processed else []
    layout = Layout(read_back([kinds.get(token, "text") for token in capture.prompt.token_ids], frames))
    if tuple(layout.token_types) != capture.prompt.token_types:
        raise ValueError(
            "the processor's token types are not those of images, frames and audio, each wrapped in its marks"
        )
    return layout


def read_back(kinds: Sequence[str], frames: Sequence[int]) -> tuple[Segment, ...]:
    """The segments of tokens of these ``kinds``, with videos of so many ``frames``. A frame has one token of text before it in a
    layout; where its time has more, those before the last are text of their own, and the frame a video of its own."""
    segments: list[Segment] = []
    before = ""
    for kind in kinds:
        form = FORMS.get(kind)
        if form and kind == before:
            last = segments[-1]
            segments[-1] = Segment(form, last.soft + 1, last.frames)
        elif form == "v":
            if not segments or segments[-1].form != "t":
                raise ValueError("a frame of a video has no time before it")
            text = segments.pop()
            segments += [Segment("t", text.soft - 1)] if text.soft > 1 else []
            segments.append(Segment("v", 1))
        elif form:
            segments.append(Segment(form, 1))
        before = kind
    return tuple(_joined(segments, frames))


def _joined(segments: Sequence[Segment], frames: Sequence[int]) -> list[Segment]:
    """With the frames of each video that are alike and next to each other in one segment."""
    video_of = [number for number, count in enumerate(frames) for _ in range(count)]
    found: list[Segment] = []
    seen = 0
    for segment in segments:
        own = video_of[seen - 1 : seen + 1] if seen and segment.form == "v" else []
        seen += segment.form == "v"
        alike = found and (found[-1].form, found[-1].soft) == (segment.form, segment.soft)
        if alike and len(own) == 2 and own[0] == own[1]:
            found[-1] = Segment("v", segment.soft, found[-1].frames + 1)
        else:
            found.append(segment)
    return found
