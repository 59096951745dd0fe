"""Tokens and pixels that the two processors made are compared by themselves, and the first difference is named."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.captures.facts import PictureFacts, ProcessedFacts, PromptFacts, VideoFacts
from harness.captures.pictures import processed
from harness.compare.processed import files_differ, taken, tokens_differ


def pictures_differ(reference: Sequence[PictureFacts] | None, serving: Sequence[PictureFacts] | None) -> str | None:
    sides = [None if some is None else ProcessedFacts(pictures=tuple(some)) for some in (reference, serving)]
    return files_differ(*(PromptFacts((1,), processed=side) for side in sides))


def made(pixels: torch.Tensor, padding: int = 0, dtype: torch.dtype = torch.float32) -> tuple[PictureFacts, ...]:
    """The facts of one picture (patches, values), with rows of padding behind it."""
    places = torch.stack([torch.arange(len(pixels)), torch.zeros(len(pixels), dtype=torch.long)], dim=-1)
    values = torch.cat([pixels, torch.full((padding, pixels.shape[1]), 9.0)])
    return processed([values], [torch.cat([places, torch.full((padding, 2), -1)])], dtype)


PIXELS = torch.rand(6, 48, generator=torch.Generator().manual_seed(0)) / 2
PLACES = torch.stack([torch.arange(6), torch.zeros(6, dtype=torch.long)], dim=-1)


def test_padding_is_no_difference_and_neither_is_what_rounds_to_the_same() -> None:
    assert pictures_differ(made(PIXELS), made(PIXELS, padding=3)) is None
    rounded = PIXELS.to(torch.bfloat16)
    assert pictures_differ(made(PIXELS, dtype=torch.bfloat16), made(rounded, dtype=torch.bfloat16)) is None


def test_the_first_patch_that_differs_is_named() -> None:
    other = PIXELS.clone()
    other[2:4] += 1 / 255
    assert pictures_differ(made(PIXELS), made(other)) == (
        "the two processors made different pixels of picture 1: 2 of 6 patches of 48 values differ, the first is patch 2"
    )


def test_shapes_are_named() -> None:
    said = pictures_differ(made(PIXELS) * 2, [*made(PIXELS), *made(PIXELS[:4])])
    told = "6 patches of 48 values in the reference, 4 patches of 48 values in serving"
    assert said == f"the two processors made different pixels of picture 2: {told}"


def test_pictures_that_are_missing_are_counted() -> None:
    assert pictures_differ(made(PIXELS), []) == "the two processors made 1 pictures in the reference and 0 in serving"


def test_prompts_without_a_processor_have_nothing_to_compare() -> None:
    assert pictures_differ(None, None) is None


def prompt(token_ids: Sequence[int], words: str = "", *videos: VideoFacts) -> PromptFacts:
    return PromptFacts(tuple(token_ids), processed=ProcessedFacts(tuple(words.split()), videos=videos))


def film(*seconds: float, brighter: float = 0) -> VideoFacts:
    frames = processed([PIXELS + brighter] * len(seconds), [PLACES] * len(seconds), torch.float32, levels=True)
    return VideoFacts(frames, seconds)


def test_the_first_token_that_differs_is_named_with_its_text() -> None:
    assert tokens_differ(prompt([1, 2, 3]), prompt([1, 2, 3])) is None
    said = tokens_differ(prompt([1, 2, 3], "<bos> a b"), prompt([1, 9, 3], "<bos> c b"))
    assert said and (
        "3 in the reference, 3 in serving; the first that differs is at position 1, 2 ('a') in the reference and 9 ('c') in"
        in said
    )
    said = tokens_differ(prompt([1, 2]), prompt([1, 2, 3]))
    assert said and "position 2, its end in the reference and 3 in serving" in said


def test_other_frames_are_why_tokens_differ() -> None:
    assert films_differ(film(0, 1), film(0, 1)) is None
    said = tokens_differ(prompt([1, 2], "a b", film(0, 1.5)), prompt([1, 3], "a c", film(0, 1, 1.5)))
    assert said and said.endswith(
        "; the two processors took other frames of video 1: 2 frames, at 0, 1.5 s in the reference, 3 frames, at 0, 1, 1.5 s "
        "in serving"
    )


def films_differ(one: VideoFacts, other: VideoFacts) -> str | None:
    return files_differ(prompt([1], "", one), prompt([1], "", other))


def test_frames_that_a_side_scales_in_another_way_are_the_same_up_to_a_level() -> None:
    levels = torch.round(PIXELS * 255) / 255
    (one,) = processed([levels], [PLACES], torch.float32, levels=True)
    (other,) = processed([torch.nextafter(levels, torch.ones(()))], [PLACES], torch.float32, levels=True)
    assert one == other
    said = films_differ(film(0, 1), film(0, 1, brighter=1 / 255))
    assert said == (
        "the two processors made different pixels of video 1, frame 1 (and of 1 more): 6 of 6 patches of 48 values differ, the "
        "first is patch 0"
    )


def test_frames_that_both_took_are_said() -> None:
    both = prompt([1], "", film(0, 0.5))
    assert taken(both, both) == ["both processors took of video 1 2 frames, at 0, 0.5 s"]
    assert taken(PromptFacts((1,)), PromptFacts((1,))) == []


def test_files_of_which_serving_tells_nothing_are_said_not_to_be_compared() -> None:
    for made_of in ({"pictures": made(PIXELS)}, {"videos": (film(0, 0.5),)}, {"clips": made(PIXELS)}):
        reference = PromptFacts((1,), processed=ProcessedFacts(notes=("a note",), **made_of))
        said, note = taken(reference, PromptFacts((1,)))
        assert said.startswith("the files were not compared") and note == "a note"
    assert taken(PromptFacts((1,), processed=ProcessedFacts()), PromptFacts((1,))) == []


def test_features_of_audio_are_compared_frame_by_frame() -> None:
    clips = [ProcessedFacts(clips=processed([PIXELS + more], [PLACES[:, :1]], torch.float32)) for more in (0, 1)]
    said = files_differ(*(PromptFacts((1,), processed=one) for one in clips))
    assert (
        said
        and "different features of audio clip 1: 6 of 6 mel frames of 48 values differ, the first is mel frame 0"
        in said
    )
