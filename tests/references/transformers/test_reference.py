"""Which prompts the reference runs together, and that it makes no difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compare.setting import Setting
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.prompts.strategies import layouts
from harness.references.transformers.driver import PAIRS_TOGETHER, together
from harness.verification.session import Session

SPEC = preset("tiny")


@given(st.lists(layouts(max_tokens=30), min_size=1, max_size=12))
def test_every_prompt_is_run_once_with_prompts_of_its_length(chosen: list[Layout]) -> None:
    prompts = [prompt_for(layout, SPEC) for layout in chosen]
    groups = together(prompts)
    assert sorted(place for places in groups for place in places) == list(range(len(prompts)))
    for places in groups:
        assert len({len(chosen[place]) for place in places}) == 1
        assert len(places) == 1 or not any("video" in chosen[place].kinds for place in places)


def test_long_prompts_are_not_run_together() -> None:
    spec = SPEC.with_(max_length=4096)
    prompts = [prompt_for(Layout.parse("t1500"), spec)] * 5
    assert [len(places) for places in together(prompts)] == [max(1, PAIRS_TOGETHER // 1500**2)] * 5


@pytest.mark.engine
def test_a_prompt_run_with_others_is_the_prompt_run_alone(session: Session) -> None:
    chosen = [Layout.parse(text) for text in ("t3 i5 t2 i2", "t16", "i12 t2", "t9 i5", "t2 i3 t3 i1 t3")]
    assert {len(layout) for layout in chosen} == {16}
    prompts = [prompt_for(layout, SPEC, seed=index) for index, layout in enumerate(chosen)]
    session.forget_references()
    batch = [pair.reference for pair in session.observe(SPEC, Setting.of(runner="v1"), prompts)]
    for prompt, beside in zip(prompts, batch, strict=True):
        session.forget_references()
        alone = session.observe(SPEC, Setting.of(runner="v1"), [prompt])[0].reference
        assert alone.prompt.token_ids == beside.prompt.token_ids
        for layer in range(len(SPEC.layers)):
            np.testing.assert_array_equal(alone.masks(layer), beside.masks(layer))
            np.testing.assert_array_equal(alone.declared(layer), beside.declared(layer))
        np.testing.assert_allclose(alone.tensors["truth.logits"], beside.tensors["truth.logits"], atol=1e-5)
