"""An engine that cannot start costs its own hunt, and no other."""

from __future__ import annotations

import pytest

from cases.catalogue import DROP
from harness.campaigns.mutation import hunt
from harness.compare.setting import Setting
from harness.families.registry import preset
from harness.verification.session import Session

pytestmark = pytest.mark.engine


def test_a_hunt_without_an_engine_has_no_answer(session: Session) -> None:
    broken = Setting.of(arguments=(("max_num_seqs", "0"),))
    kill, results = hunt(session, "window-plus-one", preset("tiny"), broken, [DROP], examples=5)
    assert kill.error.stage == "serving" and kill.error.log
    assert (kill.caught_by, kill.refused, kill.right, results) == (None, "", False, [])
    found, _ = hunt(session, "window-plus-one", preset("tiny"), Setting(), [DROP], examples=5)
    assert found.caught_by == "masks" and found.right and not found.error
