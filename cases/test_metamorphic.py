"""Properties of the serving side that need no reference: only its noise floor is measured with one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.campaigns.mutation import CHUNK, unsplit
from harness.captures.read import Capture
from harness.compare.logits import FACTOR
from harness.compare.setting import Setting
from harness.families.registry import PRESETS, prompt_for
from harness.prompts import strategies
from harness.prompts.layout import Layout
from harness.prompts.prompt import Prompt
from harness.verification.session import Pair, Session

pytestmark = pytest.mark.engine

TINY = PRESETS["tiny"]
V1 = Setting.of(runner="v1")
FEW = max(3, settings.default.max_examples // 8)


def floor(pair: Pair) -> float:
    """The error of the reference on this prompt, times what serving may have; both sides may have it."""
    tensors = pair.reference.tensors
    return 2 * FACTOR * float(np.abs(tensors["logits"] - tensors["truth.logits"]).max())


def assert_same(one: Capture, other: Capture, bound: float, rows: slice = slice(None)) -> None:
    size = len(range(*rows.indices(one.tokens)))
    both = np.flatnonzero(one.observed[rows] & other.observed[rows])
    for layer in range(len(one.facts.layers)):
        np.testing.assert_array_equal(
            one.unpack(one.masks(layer)[:, both])[..., :size], other.unpack(other.masks(layer)[:, both])[..., :size]
        )
    difference = np.abs(one.tensors["logits"][both] - other.tensors["logits"][both]).max()
    assert difference <= bound, f"logits differ by {difference}, {bound} is noise"


def one(session: Session, prompt: Prompt, setting: Setting = V1, spec=TINY) -> Pair:
    return session.observe(spec, setting, [prompt])[0]


@settings(max_examples=FEW)
@given(text=st.integers(1, 12), small=st.integers(1, 18), more=st.integers(1, 10))
def test_text_before_the_first_image_does_not_change_when_the_image_grows(session, text, small, more):
    short, long = (one(session, prompt_for(Layout.parse(f"t{text} i{n} t2"), TINY)) for n in (small, small + more))
    assert_same(short.serving, long.serving, floor(short) + floor(long), slice(0, text))


@settings(max_examples=FEW)
@given(layouts=st.lists(strategies.layouts(max_tokens=20), min_size=2, max_size=3), data=st.data())
def test_the_order_of_batch_mates_does_not_matter(session, layouts, data):
    prompts = [prompt_for(layout, TINY, seed=index) for index, layout in enumerate(layouts)]
    order = data.draw(st.permutations(range(len(prompts))))
    straight = session.observe(TINY, V1, prompts)
    permuted = session.observe(TINY, V1, [prompts[index] for index in order])
    for place, index in enumerate(order):
        assert_same(straight[index].serving, permuted[place].serving, floor(straight[index]))


@settings(max_examples=FEW)
@given(layouts=st.lists(strategies.layouts(max_tokens=24), min_size=2, max_size=3))
def test_a_request_alone_is_the_request_in_a_batch(session, layouts):
    prompts = [prompt_for(layout, TINY, seed=index) for index, layout in enumerate(layouts)]
    together = session.observe(TINY, V1, prompts)
    alone = one(session, prompts[0])
    assert_same(together[0].serving, alone.serving, floor(alone))


@settings(max_examples=FEW)
@given(layout=strategies.layouts(max_tokens=40, kinds="ti", longest=12).filter(lambda x: unsplit(x, CHUNK)))
def test_a_prompt_in_chunks_is_the_prompt_in_one_step(session, layout):
    prompt = prompt_for(layout, TINY)
    whole, chunked = one(session, prompt), one(session, prompt, V1.with_(chunk=CHUNK))
    assert_same(whole.serving, chunked.serving, floor(whole))


@settings(max_examples=FEW)
@given(layout=strategies.layouts(max_tokens=84).filter(lambda x: len(x) > 64 + 2))
def test_a_cached_prefix_changes_nothing(session, layout):
    prompt = prompt_for(layout, TINY)
    caching = V1.with_(prefix_caching=True)
    first, again = one(session, prompt, caching), one(session, prompt, caching.with_(times=2))
    assert not again.serving.observed.all(), "nothing came from the cache"
    assert_same(first.serving, again.serving, floor(first))


@pytest.mark.slow
@settings(max_examples=FEW)
@given(tokens=st.integers(1, 40))
def test_text_alone_is_what_the_causal_model_makes_of_it(session, tokens):
    causal = PRESETS["tiny-causal"]
    prompt = prompt_for(Layout.parse(f"t{tokens}"), TINY)
    vision, plain = one(session, prompt), one(session, prompt, spec=causal)
    assert_same(vision.serving, plain.serving, floor(vision))
