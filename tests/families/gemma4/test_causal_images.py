"""E2B and E4B do not ask for bidirectional images: theirs are causal on both sides, and no ranges reach a layer."""

from __future__ import annotations

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.mark.parametrize("model", ["e2b-small", "e4b-small"])
def test_images_without_the_flag_stay_causal(session: Session, model: str) -> None:
    assert preset(model).bidirectional is None
    result = verify(session, Case("run", "", "t3 i5 t4 i12 t3", model=model), Setting.of(runner="v1"))
    assert result.verdict is Verdict.PASS, result.diagnosis
    for layer in result.layers:
        assert (layer.reference_policy, layer.serving_policy) == ("causal", "causal")
        assert not layer.declared_ranges
