"""A cell of the matrix is judged as its case is by itself; the drivers are fakes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.campaigns.matrix import Plan, _share
from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.drivers.messages import RunReference
from harness.families.registry import prompt_for
from harness.prompts.layout import Layout
from harness.verification.session import Session
from harness.verification.verify import verify_batch
from tests.verification.fakes import NOISE, SPEC, Fakes

LAYOUT, V1 = "t4 i14 t3", Setting.of(runner="v1")
DROP = Declared(policy="drop", link="https://example.org", reason="long images are causal")
REFERENCES = ("transformers==5.19.0", "transformers==5.24.0")


def cell(session: Session) -> list[CaseResult]:
    """The results of one serving side with two references, both of which give what the session's gives."""
    (capture,) = session.refer(SPEC, V1, [prompt_for(Layout.parse(LAYOUT), SPEC)])
    plan = Plan((sys.executable,), REFERENCES, (V1,), (LAYOUT,), (DROP,))
    keeper = SimpleNamespace(session=lambda *_: session)
    referred = SimpleNamespace(capture=lambda reference, index: capture)
    return list(_share(keeper, None, None, sys.executable, V1, (LAYOUT,), plan, SPEC, referred, session.timeouts))


@pytest.mark.parametrize(("error", "verdict"), [(NOISE, "KNOWN"), (100 * NOISE, "DIVERGED")])
def test_masks_that_are_declared_must_explain_the_logits_of_each_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float, verdict: str
) -> None:
    fakes = Fakes()
    fakes.policy, fakes.error = "drop", lambda prompt: error
    monkeypatch.setattr("harness.verification.usage.check", lambda *_: None)
    with Session(runs=fakes, cache=tmp_path) as session:
        alone = verify_batch(session, [Layout.parse(LAYOUT)], V1, SPEC, [DROP])
        asked = len([one for one in fakes.asked(RunReference) if one.forced])
        results = cell(session)
    assert [str(one.verdict) for one in (*alone, *results)] == [verdict] * 3
    assert all(("do not explain the logits" in one.diagnosis) == (verdict == "DIVERGED") for one in results)
    assert len([one for one in fakes.asked(RunReference) if one.forced]) == asked + 1
