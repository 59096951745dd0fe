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
