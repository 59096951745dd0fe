"""Two ranks, each with half of the KV heads, are one capture and one verdict."""

from __future__ import annotations

import pytest

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import DriverFailure, FailureKind
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SPEC = preset("tiny").with_(heads=8, kv_heads=4, global_kv_heads=4)
TWO = Setting.of(runner="v1", tensor_parallel=2)


def result(session: Session, *overlays: str) -> CaseResult:
    return verify(session, Case("ranks", "", "t3 i5 t4 i12 t3"), TWO.with_(overlays=overlays), spec=SPEC)


def test_two_ranks_have_the_masks_and_logits_of_the_reference(session: Session) -> None:
    found = result(session)
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert [layer.kv_head_groups for layer in found.layers] == [4, 4]
    assert found.logits.ratio > 0


def test_each_rank_s_second_kv_head_is_told_apart(session: Session) -> None:
    """KV heads 0 and 1 are the first rank's, 2 and 3 the second's; the mutant changes the second of each."""
    found = result(session, "one-kv-head-group-causal")
    assert found.verdict is Verdict.DIVERGED
    assert "in KV head group 1, 3 only" in found.diagnosis


def test_what_a_worker_in_a_process_of_its_own_refuses_is_told_as_refused(session: Session) -> None:
    before = session.engine(SPEC, TWO)
    with pytest.raises(DriverFailure, match="FlashAttentionImpl") as failure:
        session.engine(SPEC, TWO.with_(overlays=("flash-window-not-applied-beside-images",)))
    assert failure.value.kind is FailureKind.REFUSED
    assert session.engine(SPEC, TWO) is before


def test_a_kv_head_that_both_ranks_have_counts_once(session: Session) -> None:
    """A model with fewer KV heads than ranks: vLLM gives each rank a copy."""
    one = SPEC.with_(kv_heads=1, global_kv_heads=1)
    found = verify(session, Case("ranks", "", "t3 i5 t4 i12 t3"), TWO, spec=one)
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert [layer.kv_head_groups for layer in found.layers] == [1, 1]
