"""Two ranks, each with half of the KV heads or half of the layers, are one capture and one verdict."""

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
PIPELINE = Setting.of(runner="v1", pipeline_parallel=2)
SHORT = Case("pipeline", "", "t3 i5 t4")


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


@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_layers_on_two_ranks_are_one_capture(session: Session, runner: str) -> None:
    """Logits come from the last rank, of prompts and of steps."""
    found = verify(session, SHORT, PIPELINE.with_(runner=runner, decode=2, mates=("t5",)), spec=preset("tiny"))
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert [layer.index for layer in found.layers] == [0, 1] and found.logits.ratio > 0


def test_a_layer_of_one_rank_alone_is_observed_there(session: Session) -> None:
    for layer in (0, 1):
        found = verify(session, SHORT, PIPELINE.with_(layers=(layer,)), spec=preset("tiny"))
        assert found.verdict is Verdict.PASS, found.diagnosis
        assert [one.index for one in found.layers] == [layer]


def test_a_fault_is_seen_in_the_layer_of_the_rank_that_has_it(session: Session) -> None:
    found = verify(session, SHORT, PIPELINE.with_(overlays=("one-kv-head-group-causal",)), spec=SPEC)
    assert found.verdict is Verdict.DIVERGED
    assert {layer.index for layer in found.layers if layer.missing} == {0}, found.diagnosis


def test_per_layer_inputs_that_reach_the_first_rank_alone_are_a_divergence(session: Session) -> None:
    """docs/findings/vllm-pipeline-per-layer-inputs.md"""
    spec = preset("tiny").with_(per_layer_input=16)
    found = verify(session, SHORT, PIPELINE, spec=spec)
    assert found.verdict is Verdict.DIVERGED and "every layer's mask is equal" in found.diagnosis
    mended = verify(session, SHORT, PIPELINE.with_(overlays=("pipeline-per-layer-inputs",)), spec=spec)
    assert mended.verdict is Verdict.PASS, mended.diagnosis
