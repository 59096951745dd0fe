"""An engine that cannot start costs its own search, and no other."""

from __future__ import annotations

import pytest

from cases.catalogue import DROP
from harness.campaigns.mutation import search
from harness.compare.setting import Setting
from harness.families.registry import preset
from harness.verification.session import Session

pytestmark = pytest.mark.engine


@pytest.mark.slow
def test_a_search_without_an_engine_has_no_answer(session: Session) -> None:
    broken = Setting.of(arguments=(("max_num_seqs", "0"),))
    outcome, results = search(session, "window-plus-one", preset("tiny"), broken, [DROP], examples=5)
    assert outcome.error.stage == "serving" and outcome.error.log
    assert (outcome.caught_by, outcome.refused, outcome.right, results) == (None, "", False, [])
    found, _ = search(session, "window-plus-one", preset("tiny"), Setting(), [DROP], examples=5)
    assert found.caught_by == "masks" and found.right and not found.error
