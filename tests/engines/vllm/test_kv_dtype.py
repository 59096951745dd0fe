"""Serving that keeps keys and values in fewer bits is measured against a reference that rounds them in the same way."""

from __future__ import annotations

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset, prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

INT8 = Setting.of(runner="v1", kv_dtype="int8_per_token_head", chunk=16)
"""Its later chunks read what earlier ones have written: scales too, which a probe must leave alone."""
FIRST = "docs/findings/vllm-triton-scales-reset.md"
"""Why the first request of an engine is another one."""
IMAGES = Case("rounded", "", "t3 i5 t8 i12 t20")


def test_scales_of_each_token_and_head_are_right_and_one_that_is_wrong_is_seen(session: Session) -> None:
    session.serve(preset("tiny"), INT8, [prompt_for(Layout.parse("t1"), preset("tiny"))])  # see FIRST
    right = verify(session, IMAGES, INT8)
    assert right.verdict is Verdict.PASS, right.diagnosis
    wrong = verify(session, IMAGES, INT8.with_(overlays=("key-scales-doubled",)))
    assert wrong.verdict is Verdict.DIVERGED and not wrong.masks_differ, wrong.diagnosis
    assert wrong.logits.ratio > 2 * right.logits.ratio


@pytest.mark.slow
def test_the_kernel_of_the_cpu_passes_in_eight_bits(session: Session) -> None:
    found = verify(session, Case("rounded", "", "t40"), Setting.of(backend="cpu", runner="v1", kv_dtype="fp8"))
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert found.logits.ratio > 1  # docs/findings/vllm-cpu-fp8-kv-truncates.md


@pytest.mark.slow
def test_four_bits_are_judged_by_logits(session: Session) -> None:
    four = Setting.of(runner="v1", kv_dtype="int4_per_token_head", observe="logits")
    found = verify(session, IMAGES, four)
    assert found.verdict is Verdict.PASS, found.diagnosis
    wrong = verify(session, IMAGES, four.with_(overlays=("window-not-applied-at-all",)))
    assert wrong.verdict is Verdict.DIVERGED, wrong.diagnosis
