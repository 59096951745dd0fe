"""What a step with drafts computes is right, whoever drafts and whichever runner verifies them."""

from __future__ import annotations

import re

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DRAFTED = Setting.of(decode=14, speculate=2, mates=("t20", "i3 t6"))
MENDED = {"v1": (), "v2": ("pr-50539",)}
"""What a runner needs to be right of an image that is longer than the window."""


AHEAD = (("async_scheduling", "true"),)
"""Steps are planned before it is known how many drafts of the last one were accepted, as it is by default on a GPU."""


@pytest.mark.parametrize(
    ("runner", "draft", "arguments"),
    [("v2", "ngram", ()), ("v1", "mtp", ()), ("v2", "mtp", ()), ("v1", "mtp", AHEAD), ("v2", "mtp", AHEAD)],
)
@pytest.mark.parametrize("model", ["tiny", "e4b-small"])
def test_some_drafts_are_accepted_and_all_that_counts_is_right(
    session: Session, runner: str, draft: str, arguments: tuple, model: str
) -> None:
    overlays = MENDED[runner] if model == "tiny" else ()
    setting = DRAFTED.with_(runner=runner, draft=draft, overlays=overlays, arguments=arguments)
    found = verify(session, Case("drafted", "", "t3 i12 t4"), setting, spec=preset(model))
    assert found.verdict is Verdict.PASS, found.diagnosis
    drafted = re.search(r"(\d+) of (\d+) drafts were accepted", found.diagnosis)
    assert drafted and 0 < int(drafted[1]) < int(drafted[2]), found.diagnosis


@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_what_is_computed_again_of_a_request_may_end_within_what_it_was_given(session: Session, runner: str) -> None:
    """It was preempted and is resumed in chunks, beside others that have drafts: nothing is sampled of a chunk but the last."""
    small = (("num_gpu_blocks_override", "12"), ("max_model_len", "120"))
    setting = Setting.of(runner=runner, decode=70, speculate=2, chunk=48, mates=("t40", "t40 seed=9"), arguments=small)
    found = verify(session, Case("preempted", "", "t40"), setting)
    assert found.verdict is Verdict.PASS, found.diagnosis


@pytest.mark.parametrize("runner", ["v1", "v2"])
def test_a_fault_of_steps_with_drafts_is_seen_whoever_drafts(session: Session, runner: str) -> None:
    overlays = (*MENDED[runner], "drafts-without-window")
    setting = DRAFTED.with_(runner=runner, draft="mtp", mates=(), overlays=overlays)
    found = verify(session, Case("drafted", "", "t3 i12 t4"), setting)
    assert found.verdict is Verdict.DIVERGED and found.masks_differ, found.diagnosis
