"""Properties of a request's whole life that need no reference: only its noise floor is measured with one.

What came before, who is beside it and how it was cut into steps change nothing of what a request computes.
"""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases.test_metamorphic import TINY, V1, assert_same, floor, one
from harness.compare import failure
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import continued, prompt_for
from harness.prompts import strategies
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.prompt import Prompt
from harness.verification.session import Session
from harness.verification.verify import verify, verify_batch

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


@pytest.mark.slow
@settings(max_examples=FEW)
@given(before=st.integers(50, 63), soft=st.integers(2, 18), after=st.integers(1, 6), steps=st.integers(0, 2))
def test_four_times_gives_four_equal_answers(session: Session, before: int, soft: int, after: int, steps: int) -> None:
    prompt = continued(prompt_for(Layout.parse(f"t{before} i{soft} t{after}"), TINY), TINY, steps)
    first, *again = (one(session, prompt, CACHING.with_(times=times)) for times in (1, 4))
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


@pytest.mark.parametrize(
    ("mutant", "layout", "scenario"),
    [
        ("decode-without-window", "t9", {"decode": 1}),
        ("decode-window-plus-one", "t8", {"decode": 1}),
        ("decode-ranges-from-the-step", "i2 t3", {"decode": 1}),
        ("decoded-keys-not-written", "t3", {"decode": 1}),
        ("freed-block-read", "t3", {"decode": 1}),
        ("prefix-keys-without-images", "i1 t66", {"prefix_caching": True, "before": ("i1 t66 pictures=1",)}),
    ],
)
def test_a_fault_of_later_steps_and_requests_is_seen_there_and_only_there(
    session: Session, mutant: str, layout: str, scenario: dict[str, Any]
) -> None:
    wrong = V1.with_(overlays=(mutant,))
    (seen,) = verify_batch(session, [Layout.parse(layout)], wrong.with_(**scenario), TINY)
    assert seen.verdict is Verdict.DIVERGED, failure.text(seen)
    (alone,) = verify_batch(session, [Layout.parse(layout)], wrong, TINY)
    assert alone.verdict is Verdict.PASS, failure.text(alone)


def test_a_block_that_another_request_had_is_seen_each_time(session: Session) -> None:
    """What was served before in the same blocks leaves codes of the same positions in the observer's shadow, unless it forgets."""
    wrong, layout = V1.with_(overlays=("freed-block-read",), decode=2), Layout.parse("t9")
    for _ in range(3):
        (seen,) = verify_batch(session, [layout], wrong, TINY)
        assert seen.verdict is Verdict.DIVERGED and seen.masks_differ, failure.text(seen)


def test_an_encoder_cache_gives_an_item_its_own_outputs(session: Session) -> None:
    layout, others = Layout.parse("t3 i7 t2"), tuple(f"t3 i7 t2 pictures={number}" for number in (1, 2, 3))
    (right,) = verify_batch(session, [layout], V1.with_(before=others), TINY)
    assert right.verdict is Verdict.PASS, failure.text(right)
    wrong = V1.with_(before=others, overlays=("encoder-outputs-by-size",))
    (seen,) = verify_batch(session, [layout], wrong, TINY)
    assert seen.verdict is Verdict.DIVERGED and not seen.masks_differ, failure.text(seen)


def test_what_drafts_get_wrong_is_computed_again_and_right(session: Session) -> None:
    setting = V1.with_(decode=14, speculate=2, mates=("t20", "i3 t6"))
    found = verify(session, Case("drafted", "", "t3 i12 t4"), setting)
    assert found.verdict is Verdict.PASS, failure.text(found)
    drafted = re.search(r"(\d+) of (\d+) drafts were accepted", found.diagnosis)
    assert drafted and 0 < int(drafted[1]) < int(drafted[2]), found.diagnosis


SMALL_CACHE = (("num_gpu_blocks_override", "12"), ("max_model_len", "120"))
"""Room for about one of the three requests that are served together."""


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_a_request_that_is_preempted_and_resumed_is_right(session: Session, runner: str) -> None:
    setting = V1.with_(runner=runner, decode=70, mates=("t40", "t40 seed=9"), arguments=SMALL_CACHE)
    found = verify(session, Case("preempted", "", "t30 i6 t4"), setting)
    assert found.verdict is Verdict.PASS, failure.text(found)
    assert "were computed again: the request was preempted and resumed" in found.diagnosis
