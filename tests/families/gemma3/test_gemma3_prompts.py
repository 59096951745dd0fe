"""What Gemma 3 can be given: text and images, each a whole number of crops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.families.gemma3 import wording
from harness.families.gemma3.presets import PRESETS
from harness.families.gemma3.prompts import crops, prompt_for, side
from harness.families.gemma3.tokens import ID_OF_KIND
from harness.families.registry import family_of
from harness.prompts import strategies
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec

TINY, SMALL = PRESETS["gemma3-tiny"], PRESETS["gemma3-4b-small"]
specs = pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)


@specs
@given(data=st.data())
def test_generated_layouts_are_those_that_the_model_takes(spec: ModelSpec, data: st.DataObject) -> None:
    family = family_of(spec)
    kinds, unit = strategies.among("iIv", family.letters(spec)), family.unit(spec)
    most = 6 * spec.window
    threshold = strategies.threshold_layouts(window=spec.window, max_tokens=most, kinds=kinds, unit=unit)
    layout = data.draw(st.one_of(threshold, strategies.layouts(max_tokens=most, kinds=f"t{kinds}", unit=unit)))
    assert family.takes(layout, spec)
    prompt = prompt_for(layout, spec)
    assert [ID_OF_KIND["image"] == number for number in prompt.token_ids] == [kind == 1 for kind in prompt.token_types]
    for item in prompt.items:
        assert crops(item, unit).shape == (item.soft // unit, 3, side(unit), side(unit))


def test_images_around_the_window_are_drawn_in_whole_crops() -> None:
    layouts = strategies.threshold_layouts(window=32, max_tokens=192, kinds="i", unit=16)
    found: set[int] = set()

    @given(layouts)
    def draw(layout: Layout) -> None:
        found.update(len(span) for span in layout.spans)

    draw()
    assert {16, 32, 48} <= found and all(length % 16 == 0 for length in found)


@pytest.mark.parametrize(
    ("spec", "layout", "said"),
    [
        (SMALL, "t3 i5 t4", "a multiple of 16 soft tokens, as many as gemma3-4b-small makes of one crop"),
        (SMALL, "t3 I17", "a multiple of 16 soft tokens"),
        (TINY, "t3 v2x4", "text and images alone; the model gemma3-tiny takes no video"),
        (TINY, "a6", "takes no audio"),
        (TINY, "t512", "it has 512 tokens; the model gemma3-tiny takes at most 511"),
    ],
)
def test_a_layout_that_it_cannot_take_is_refused_in_one_line(spec: ModelSpec, layout: str, said: str) -> None:
    assert not family_of(spec).takes(Layout.parse(layout), spec)
    with pytest.raises(UsageError, match=said) as refused:
        prompt_for(Layout.parse(layout), spec, field="mate")
    assert str(refused.value).startswith(f"mate: '{layout}'") and "\n" not in str(refused.value)


def test_crops_and_seeds_differ() -> None:
    items = [item for seed in (0, 1) for item in prompt_for(Layout.parse("i3 i3"), TINY, seed).items]
    every = [crop for item in items for crop in crops(item, 1)]
    assert all(not np.array_equal(one, other) for place, one in enumerate(every) for other in every[:place])


@pytest.mark.parametrize(
    ("text", "soft", "count"),
    [
        ("w40 w41 <start_of_image> w42 w43 w44", [1], 10),  # as the processors of both sides make it: t3 i1 t4
        ("w40", [], 1),
        ("w40\n<start_of_image>", [16], 1 + 1 + 16 + 2 + 1),  # one newline and two are one token
        ("<start_of_image> <start_of_image>", [1, 1], 10),
    ],
)
def test_a_text_has_as_many_tokens_as_the_processor_makes(text: str, soft: list[int], count: int) -> None:
    wording.check(text, len(soft))
    assert wording.tokens(text, soft, SMALL) == count


@pytest.mark.parametrize(
    "text", ["w40 <|image|>", "<image_soft_token> <start_of_image>", "<start_of_image> w4 <start_of_image>", " "]
)
def test_a_text_without_a_place_for_its_picture_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="text: "):
        wording.check(text, 1)
