"""Properties of a request's whole life that need no reference: only its noise floor is measured with one.

What came before, who is beside it and how it was cut into steps change nothing of what a request computes.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases.test_metamorphic import TINY, V1, assert_same, floor, one
from harness.compare.setting import Setting
from harness.families.registry import continued, prompt_for
from harness.prompts import strategies
from harness.prompts.layout import Layout
from harness.prompts.prompt import Prompt
from harness.verification.session import Session

pytestmark = pytest.mark.engine

FEW = max(2, settings.default.max_examples // 20)
CACHING = V1.with_(prefix_caching=True)
SMALL = strategies.layouts(max_tokens=20)


def served(session: Session, layout: Layout, setting: Setting, *, history: tuple[Layout, ...] = ()) -> bytes:
    """The bits of a request's logits."""
    before = [prompt_for(each, TINY, seed=9) for each in history]
    prompt = continued(prompt_for(layout, TINY), TINY, setting.scenario.decode)
    (pair,) = session.observe(TINY, setting, [prompt], history=before)
    return pair.serving.tensors["logits"].tobytes()


def recomputed(prompt: Prompt) -> Prompt:
    """The prompt that computes in one step what this one computes when it is continued."""
    more = len(prompt.continuation)
    return Prompt((*prompt.token_ids, *prompt.continuation), (*prompt.token_types, *([0] * more)), prompt.items)


@settings(max_examples=FEW)
@given(layout=strategies.threshold_layouts(window=8, max_tokens=30), steps=st.integers(1, 4))
def test_decoding_is_recomputing(session: Session, layout: Layout, steps: int) -> None:
    prompt = continued(prompt_for(layout, TINY), TINY, steps)
    decoded, whole = one(session, prompt), one(session, recomputed(prompt))
    assert len(decoded.serving.prompt.steps) == steps + 1 and len(whole.serving.prompt.steps) == 1
    assert_same(decoded.serving, whole.serving, floor(whole))


@settings(max_examples=FEW)
@given(layouts=st.lists(SMALL, min_size=2, max_size=3), steps=st.integers(1, 3))
def test_a_request_that_decodes_alone_is_the_request_in_company(
    session: Session, layouts: list[Layout], steps: int
) -> None:
    prompts = [continued(prompt_for(each, TINY, seed=index), TINY, steps) for index, each in enumerate(layouts)]
    together, alone = session.observe(TINY, V1, prompts), one(session, prompts[0])
    assert_same(together[0].serving, alone.serving, floor(alone))


@settings(max_examples=FEW)
@given(before=st.integers(50, 63), soft=st.integers(2, 18), after=st.integers(1, 6), steps=st.integers(0, 2))
def test_four_times_gives_four_equal_answers(session: Session, before: int, soft: int, after: int, steps: int) -> None:
    prompt = continued(prompt_for(Layout.parse(f"t{before} i{soft} t{after}"), TINY), TINY, steps)
    first, *again = (one(session, prompt, CACHING.with_(times=times)) for times in (1, 2, 4))
    assert first.serving.observed.all()
    for later in again:
        assert later.serving.observed.all() == (len(prompt.token_ids) <= 64)
        assert_same(first.serving, later.serving, floor(first))


@settings(max_examples=FEW)
@given(layout=SMALL, before=st.lists(SMALL, min_size=1, max_size=2), steps=st.integers(0, 2))
def test_what_was_in_the_engine_before_changes_not_one_bit(
    session: Session, layout: Layout, before: list[Layout], steps: int
) -> None:
    decode = V1.with_(decode=steps)
    assert served(session, layout, decode) == served(session, layout, decode, history=tuple(before))


@settings(max_examples=FEW)
@given(layout=strategies.threshold_layouts(window=8, max_tokens=40, kinds="iI"), steps=st.integers(0, 2))
def test_poison_in_what_is_free_changes_not_one_bit(session: Session, layout: Layout, steps: int) -> None:
    plain = V1.with_(decode=steps)
    assert served(session, layout, plain) == served(session, layout, plain.with_(poison=True, times=2))
