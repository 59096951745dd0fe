"""A LoRA adapter changes what a request computes as the reference with the same adapter does, and only that request."""

from __future__ import annotations

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SPEC = preset("tiny")
IMAGE = Case("adapter", "", "t3 i5 t4")
WITH = Setting.of(runner="v1", adapter="request", mates=("t5",), decode=1)


@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_a_request_with_an_adapter_is_the_reference_with_it(session: Session, runner: str) -> None:
    found = verify(session, IMAGE, WITH.with_(runner=runner), spec=SPEC)
    assert found.verdict is Verdict.PASS, found.diagnosis


def test_mates_leave_a_request_what_it_is_without_one(session: Session) -> None:
    """On a CPU vLLM gives it theirs (docs/findings/vllm-cpu-adapter-of-others.md)."""
    mates = WITH.with_(adapter="mates", decode=0)
    found = verify(session, IMAGE, mates, spec=SPEC)
    assert found.verdict is Verdict.DIVERGED and "every layer's mask is equal" in found.diagnosis
    mended = verify(session, IMAGE, mates.with_(overlays=("pr-48421",)), spec=SPEC)
    assert mended.verdict is Verdict.PASS, mended.diagnosis
