"""A fault that an engine shows once, since it remembers earlier requests, is caught all the same."""

from __future__ import annotations

from pathlib import Path

from harness.campaigns.mutation import search
from harness.compare.setting import Setting
from harness.prompts.prompt import Prompt
from harness.verification.session import Session
from tests.verification.fakes import NOISE, SPEC, Fakes


def test_a_fault_that_layouts_show_once_is_caught(tmp_path: Path) -> None:
    served: set[tuple[int, ...]] = set()

    def first_time_only(prompt: Prompt) -> float:
        new = tuple(prompt.token_ids) not in served
        served.add(tuple(prompt.token_ids))
        return 1.0 if new else NOISE

    with Session(runs=Fakes(error=first_time_only), cache=tmp_path) as session:
        outcome, results = search(session, "window-plus-one", SPEC, Setting(), [], examples=5)
    assert outcome.caught_by == "logits" and outcome.right and not outcome.error
    assert len(results) == 1 and len(str(results[0].layout)) < 4
