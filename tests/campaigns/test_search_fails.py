"""An engine that cannot start costs its own search, and no other."""

from __future__ import annotations

import pytest

from cases.catalogue import DROP
from harness.campaigns.mutation import search
from harness.compare.setting import Setting
from harness.families.registry import preset
from harness.verification.session import Session


@pytest.mark.engine
@pytest.mark.slow
def test_a_search_without_an_engine_has_no_answer(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setenv("VLLM_LOGGING_CONFIG_PATH", "nowhere.json")
        outcome, results = search(session, "window-plus-one", preset("tiny"), Setting(), [DROP], examples=5)
    assert outcome.error.stage == "serving" and outcome.error.log
    assert (outcome.caught_by, outcome.refused, outcome.right, results) == (None, "", False, [])
    found, _ = search(session, "window-plus-one", preset("tiny"), Setting(), [DROP], examples=5)
    assert found.caught_by == "masks" and found.right and not found.error


def test_what_a_mutant_needs_and_the_machine_has_not_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    with Session() as session:
        outcome, results = search(session, "pipeline-rows-shifted", preset("tiny"), Setting(), [DROP], examples=5)
    assert "pipeline_parallel" in outcome.refused and "at most 1" in outcome.refused
    assert (outcome.caught_by, outcome.error, outcome.right, results) == (None, None, True, [])
