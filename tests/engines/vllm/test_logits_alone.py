"""Serving judged by its sampler's logits alone: the verdict and the likely policy are those that its masks have when observed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from harness.captures.read import Capture
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.messages import Forced, LoadEngine, RunEngine
from harness.drivers.process import Driver
from harness.families.registry import preset, prompt_for
from harness.masks.policies import POLICIES
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

TINY = preset("tiny")
LAYOUT = Layout.parse("t3 i5 t4 i12 t3")
CASE = Case("alone", "", str(LAYOUT))
ALONE = Setting.of(runner="v1", observe="logits")


@pytest.mark.parametrize(
    ("overlays", "policy"),
    [
        ((), ""),
        (("no-registration",), "causal"),
        (("window-plus-one",), "window-plus-one"),
        (("full-layers-not-cleared",), "`clamp` on sliding layers, `everywhere` on full ones"),
    ],
)
def test_a_planted_fault_is_found_by_its_logits(session: Session, overlays: tuple[str, ...], policy: str) -> None:
    found = verify(session, CASE, ALONE.with_(overlays=overlays))
    assert found.verdict is (Verdict.DIVERGED if overlays else Verdict.PASS), found.diagnosis
    assert not found.layers and "were not observed (as asked for)" in found.diagnosis
    assert f"likely policy {policy if ' ' in policy else f'`{policy}`'}" in found.diagnosis or not overlays


@pytest.mark.slow
def test_chunks_mates_and_steps_are_judged_too(session: Session) -> None:
    setting = ALONE.with_(chunk=16, mates=("t5 i9",), decode=3)
    right = verify(session, Case("alone", "", "t3 i5 t8 i6 t20"), setting)
    assert right.verdict is Verdict.PASS, right.diagnosis
    assert right.logits.samples == 2 and np.count_nonzero(right.logits.by_position["floor"]) == 49


@pytest.mark.parametrize("policy", ["clamp", "drop", "causal", "bidirectional"])
def test_a_mask_that_is_forced_is_the_one_that_is_observed(session: Session, policy: str) -> None:
    spans = tuple((span.start, span.end) for span in LAYOUT.spans)
    rows = tuple(range(4, len(LAYOUT)))
    (capture,) = session.forced(TINY, ALONE, prompt_for(LAYOUT, TINY), [Forced(policy, policy, spans, rows)])
    for layer in capture.facts.layers:
        sliding = layer.type == "sliding_attention"
        wanted = POLICIES[policy].mask(len(LAYOUT), spans, TINY.window, sliding=sliding)
        own = POLICIES["clamp"].mask(len(LAYOUT), spans, TINY.window, sliding=sliding)
        seen = capture.unpack(capture.masks(layer.index)[0])
        np.testing.assert_array_equal(seen[4:], wanted[4:])
        np.testing.assert_array_equal(seen[:4], own[:4])


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_where_hooks_are_not_called_the_sampler_is_asked(session: Session, tmp_path: Path, runner: str) -> None:
    """An engine whose hooks see nothing answers as one that was asked for logits alone."""
    setting = Setting.of(runner=runner)
    checkpoint = session.checkpoint(TINY)

    def served(module: str, masks: bool) -> Capture:
        log = tmp_path / f"{module}.log"
        driver = Driver(module, "serving", session.serving_python, log, setting.engine.environment(session.platform))
        arguments = setting.engine.engine_arguments(TINY, setting.scenario, session.platform)
        try:
            driver.ask(LoadEngine(checkpoint, "triton", runner, session.platform, arguments), timeout=600)
            asked = RunEngine((prompt_for(LAYOUT, TINY),), tmp_path / module, masks=masks)
            (stored,) = driver.ask(asked, timeout=600).captures
        finally:
            driver.close()
        return Capture(stored.directory, stored.place)

    with ThreadPoolExecutor(2) as both:
        modules = ("tests.engines.vllm.without_hooks", "harness.engines.vllm.driver")
        unhooked, asked = both.map(served, modules, (True, False))
    for one in (unhooked, asked):
        assert one.facts.log_probabilities and not one.facts.layers and not one.observed.any() and one.computed.all()
    np.testing.assert_array_equal(unhooked.tensors["logits"], asked.tensors["logits"])
