"""The reference with its own cache, through `generate`: where it is right it masks and computes as without one."""

from __future__ import annotations

import numpy as np
import pytest

from harness.captures.read import Capture
from harness.compare.logits import FACTOR
from harness.compare.setting import Setting
from harness.families.registry import continued, preset, prompt_for
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout
from harness.verification.session import Session

pytestmark = pytest.mark.engine

STEPS = 2


def cached(session: Session, model: str, layout: str, cache: str, chunk: int | None = None) -> Capture:
    spec, setting = preset(model), Setting.of(reference_cache=cache, prefill_chunk_size=chunk, decode=STEPS)
    (capture,) = session.refer(spec, setting, [continued(prompt_for(Layout.parse(layout), spec), spec, STEPS)])
    return capture


def apart(capture: Capture) -> list[int]:
    """The layers whose masks are others with the cache."""
    return [
        layer.index
        for layer in capture.facts.layers
        if not np.array_equal(capture.tensors[f"cached.mask.{layer.index}"], capture.masks(layer.index))
    ]


def off(capture: Capture) -> float:
    """How many times the noise floor the logits of the run with the cache are off."""
    truth, one, other = (capture.tensors[name] for name in ("truth.logits", "logits", "cached.logits"))
    return float(np.abs(other - truth).max() / np.abs(one - truth).max())


@pytest.mark.parametrize(
    ("model", "layout", "cache", "chunk"),
    [
        ("tiny", "t3 i12 t9", "dynamic", None),
        ("tiny", "t20", "static", None),
        ("tiny", "t20", "dynamic", 5),
        ("tiny", "t21", "static", 9),
        ("e4b-small", "t3 i5 t14", "dynamic", None),
    ],
)
def test_a_run_with_a_cache_is_the_run_without_one(
    session: Session, model: str, layout: str, cache: str, chunk: int | None
) -> None:
    capture = cached(session, model, layout, cache, chunk)
    assert capture.tensors["cached.logits"].shape == capture.tensors["logits"].shape
    assert not apart(capture) and off(capture) <= FACTOR


def test_an_image_is_causal_in_a_static_cache_of_this_release(session: Session) -> None:
    """docs/findings/transformers-static-cache.md"""
    capture = cached(session, "tiny", "t3 i5 t4", "static")
    assert apart(capture) == [0] and off(capture) > FACTOR
    wanted = POLICIES["causal"].mask(capture.tokens, [(4, 8)], 8, sliding=True)
    np.testing.assert_array_equal(capture.unpack(capture.tensors["cached.mask.0"][0]), wanted)


def policies(capture: Capture, tensor: str, layout: str) -> list[str]:
    """Of each layer the first of these policies that its masks follow."""
    known = ("causal", "clamp", "unclamped", "everywhere")
    spans = [(span.start, span.end) for span in Layout.parse(layout).spans]

    def policy(index: int, sliding: bool) -> str:
        masks = capture.unpack(capture.tensors[tensor.format(index)])
        wanted = {name: POLICIES[name].mask(capture.tokens, spans, 8, sliding=sliding) for name in known}
        return next(name for name, mask in wanted.items() if all(np.array_equal(mask, group) for group in masks))

    return [policy(layer.index, layer.type == "sliding_attention") for layer in capture.facts.layers]


def test_12b_has_the_masks_of_its_class_but_in_a_run_of_its_own(session: Session) -> None:
    """docs/findings/transformers-unified-forward.md"""
    layout = "t3 i9 t4"
    capture = cached(session, "12b-small", layout, "dynamic")
    assert policies(capture, "mask.{}", layout) == ["clamp"] * 5 + ["causal"]
    assert policies(capture, "cached.mask.{}", layout) == ["unclamped"] * 5 + ["everywhere"]
    assert off(capture) > FACTOR and "create_masks_for_generate" in capture.facts.notes[0]


def test_12b_decodes_as_its_one_shot_forward(session: Session) -> None:
    spec, setting = preset("12b-small"), Setting.of(decode=STEPS)
    (capture,) = session.refer(spec, setting, [continued(prompt_for(Layout.parse("t3 i9"), spec), spec, STEPS)])
    truth, one, other = (capture.tensors[name] for name in ("truth.logits", "logits", "cached.logits"))
    rows = slice(-len(other), None)
    assert np.abs(other - truth[rows]).max() <= FACTOR * np.abs(one - truth)[rows].max()


def test_nothing_is_said_of_masks_where_12b_is_given_no_image(session: Session) -> None:
    spec = preset("12b-small")
    (capture,) = session.refer(spec, Setting(), [prompt_for(Layout.parse("t9"), spec)])
    assert capture.facts.notes == ()
