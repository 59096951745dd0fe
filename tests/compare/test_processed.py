"""Tokens and pixels that the two processors made are compared by themselves, and the first difference is named."""

from __future__ import annotations

import torch

from harness.captures.pictures import processed
from harness.compare.processed import pictures_differ, tokens_differ


def made(pixels: torch.Tensor, padding: int = 0, dtype: torch.dtype = torch.float32) -> list[dict]:
    """The facts of one picture (patches, values), with rows of padding behind it."""
    places = torch.stack([torch.arange(len(pixels)), torch.zeros(len(pixels), dtype=torch.long)], dim=-1)
    values = torch.cat([pixels, torch.full((padding, pixels.shape[1]), 9.0)])
    return processed([values], [torch.cat([places, torch.full((padding, 2), -1)])], dtype)


PIXELS = torch.rand(6, 48, generator=torch.Generator().manual_seed(0))


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


def test_the_first_token_that_differs_is_named() -> None:
    assert tokens_differ([1, 2, 3], [1, 2, 3]) is None
    assert (
        "3 in the reference, 3 in serving; the first that differs is at position 1, 2 in the reference and 9"
        in tokens_differ([1, 2, 3], [1, 9, 3])
    )
    assert "position 2, its end in the reference and 3 in serving" in tokens_differ([1, 2], [1, 2, 3])
