"""With kv_sharing_fast_prefill layers that share keys run the rows that tokens are sampled from, and no others."""

from __future__ import annotations

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SPEC = preset("e4b-small")
SHARED = list(range(len(SPEC.layers) - SPEC.kv_shared_layers, len(SPEC.layers)))
FAST = Setting.of(arguments=(("kv_sharing_fast_prefill", "true"),), chunk=9, decode=2, mates=("t4",))
"""A batch of 9 tokens a step: the request's prompt is computed in two steps, beside another one."""


@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_masks_and_logits_are_those_of_the_reference_where_they_were_run(session: Session, runner: str) -> None:
    found = verify(session, Case("fast-prefill", "", "t3 i3 t5"), FAST.with_(runner=runner), spec=SPEC)
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert f"layers {', '.join(map(str, SHARED))}, which share keys, computed" in found.diagnosis
    pairs = {layer.index: layer.serving_pairs for layer in found.layers}
    assert all(pairs[layer] < pairs[0] for layer in SHARED) and found.logits.ratio > 0


@pytest.mark.parametrize("setting", [Setting.of(runner="v1"), FAST.with_(runner="v1")], ids=["plain", "fast"])
def test_a_layer_that_shares_keys_may_be_all_that_is_observed(session: Session, setting: Setting) -> None:
    alone = setting.with_(layers=(SHARED[-1],))
    found = verify(session, Case("fast-prefill", "", "t3 i3 t5"), alone, spec=SPEC)
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert [layer.index for layer in found.layers] == [SHARED[-1]]
