"""A layout becomes the same prompt every time, and the layout can be read from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.families.gemma4.presets import PRESETS
from harness.families.gemma4.prompts import PATCH, POOL, patches, prompt_for
from harness.families.gemma4.tokens import FIRST_WORD, ID_OF_KIND
from harness.prompts.layout import Layout
from harness.prompts.strategies import layouts

SPEC = PRESETS["tiny-audio"]
any_layout = layouts(kinds="tiIva")


@given(any_layout, st.integers(0, 99))
def test_token_ids_say_what_the_layout_says(layout: Layout, seed: int) -> None:
    prompt = prompt_for(layout, SPEC, seed)
    assert prompt.token_types == tuple(layout.token_types)
    for token, number in zip(layout.tokens, prompt.token_ids, strict=True):
        assert number == ID_OF_KIND[token.kind] if token.kind in ID_OF_KIND else FIRST_WORD <= number < SPEC.vocab


@given(any_layout, st.integers(0, 99))
def test_what_fills_the_placeholders_lies_on_the_spans(layout: Layout, seed: int) -> None:
    items = prompt_for(layout, SPEC, seed).items
    filled = [item.offset + inside for item in items for inside in item.embedded]
    assert filled == [p for span in layout.spans for p in range(span.start, span.end + 1)]


@given(any_layout, st.integers(0, 99))
def test_a_prompt_is_the_same_every_time(layout: Layout, seed: int) -> None:
    prompt = prompt_for(layout, SPEC, seed)
    assert prompt == prompt_for(layout, SPEC, seed)


@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 99))
def test_pixels_are_as_many_as_pool_to_the_soft_tokens(soft: int, frames: int, seed: int) -> None:
    (item,) = prompt_for(Layout.parse(f"v{frames}x{soft}"), SPEC, seed).items
    pixels, positions = patches(item)
    assert pixels.shape == (frames, soft * POOL**2, 3 * PATCH**2)
    cells = positions[0] // POOL
    assert len(np.unique(cells, axis=0)) == soft
    assert len(np.unique(positions[0], axis=0)) == soft * POOL**2


def test_images_and_seeds_differ() -> None:
    layout = Layout.parse("i4 i4")
    pixels = [patches(item)[0] for seed in (0, 1) for item in prompt_for(layout, SPEC, seed).items]
    assert all(not np.array_equal(one, other) for i, one in enumerate(pixels) for other in pixels[:i])


@pytest.mark.parametrize(
    ("layout", "model", "message"),
    [("t512", "tiny", "512 tokens.*at most 511"), ("t3 a5", "tiny", "no audio tower; tiny-audio has one")],
)
def test_a_layout_that_the_model_cannot_take_is_refused(layout: str, model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prompt_for(Layout.parse(layout), PRESETS[model])
