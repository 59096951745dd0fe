"""Overlays are laid over a running engine and taken back without a trace."""

from __future__ import annotations

import pytest

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.engines.vllm.overlays import OVERLAYS
from harness.families.registry import preset
from harness.prompts.layout import Layout
from harness.verification.session import Session
from harness.verification.verify import verify_batch

pytestmark = pytest.mark.engine

V1 = Setting.of(runner="v1")
LAYOUT = Layout.parse("t3 i5 t2 i12 t2 v2x3 t2")


def result(session: Session, *overlays: str) -> CaseResult:
    return verify_batch(session, [LAYOUT], V1.with_(overlays=overlays), preset("tiny"))[0]


@pytest.mark.slow
def test_an_engine_is_as_before_when_its_overlays_are_taken_back(session: Session) -> None:
    before = result(session)
    assert before.verdict is Verdict.PASS
    engine = session.engine(preset("tiny"), V1)
    unlike = [name for name in OVERLAYS if result(session, name).layers != before.layers]
    assert {"no-registration", "is-embed-lost", "window-not-applied-at-all", "one-kv-head-group-causal"} <= set(unlike)
    after = result(session)
    assert session.engine(preset("tiny"), V1) is engine
    assert after.layers == before.layers and after.logits == before.logits


@pytest.mark.slow
def test_two_overlays_at_once_each_do_their_part(session: Session) -> None:
    both = result(session, "full-layers-not-cleared", "range-end-exclusive")
    assert [layer.missing > 0 for layer in both.layers] == [True, False]
    assert [layer.extra > 0 for layer in both.layers] == [False, True]
    assert "+full-layers-not-cleared +range-end-exclusive" in both.setting["label"]
