"""Serving whose masks nobody observed: its logits alone say which policy it is likely to follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.compare.known import Declared
from harness.compare.likely import Laid, candidates, of_all_rows
from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import NOISE, SPEC, judged, masks_of, truth_of, write

LONG, SHORT, TEXT = (Layout.parse(text) for text in ("t3 i9 t4", "t3 i5 t4", "t20"))
CAUSAL = Declared(policy="causal", link="https://example.org", reason="a graph has no ranges", unobserved=True)


def unseen(
    folder: Path, layout: Layout, policy: str, declared: Declared | None = None, *, suppressed: tuple[int, ...] = ()
) -> CaseResult:
    """The verdict on serving that follows ``policy`` unobserved. Under each policy the model has other logits."""
    reference = write(folder / "reference", layout, masks_of("clamp", layout), side="reference", suppressed=suppressed)
    other = {"clamp": truth_of(layout), "none": truth_of(layout, 99)}
    serving = write(folder / "nothing", layout, [], side="serving", unseen=len(layout))
    laid = []
    for number, one in enumerate(candidates(layout, SPEC, reference, serving, declared), start=1):
        truth = truth_of(layout, number)
        other |= {sliding: truth for sliding, full in one.policies if full == "causal"}
        masks = masks_of("clamp", layout)
        laid.append(Laid(one, write(folder / str(number), layout, masks, side="reference", truth=truth)))
    own = {"unseen": len(layout), "truth": other[policy], "sampled": True, "suppressed": suppressed}
    serving = write(folder / "serving", layout, [], side="serving", **own)
    return judged(reference, serving, layout, declared, laid=laid)


def test_logits_of_the_intended_masks_pass_and_the_case_says_what_was_not_seen(tmp_path: Path) -> None:
    result = unseen(tmp_path, LONG, "clamp")
    assert result.verdict is Verdict.PASS and not result.layers
    assert "serving's masks were not observed (every step ran where hooks are not called" in result.diagnosis
    assert "log-probabilities are compared" in result.diagnosis


@pytest.mark.parametrize("policy", ["causal", "unclamped", "everywhere", "window-plus-one"])
def test_the_policy_that_gives_the_logits_is_the_likely_one(tmp_path: Path, policy: str) -> None:
    result = unseen(tmp_path, LONG, policy)
    assert result.verdict is Verdict.DIVERGED and result.at_fault == "serving"
    assert f"likely policy `{policy}`" in result.diagnosis or f"the same as `{policy}`" in result.diagnosis


def test_an_image_longer_than_the_window_that_is_causal_is_dropped_as_well(tmp_path: Path) -> None:
    assert "likely policy `drop` (here the same as `causal`)" in unseen(tmp_path, LONG, "causal").diagnosis
    assert "likely policy `causal`:" in unseen(tmp_path / "short", SHORT, "causal").diagnosis


def test_logits_that_no_policy_gives_are_said_to_be(tmp_path: Path) -> None:
    result = unseen(tmp_path, LONG, "none")
    assert result.verdict is Verdict.DIVERGED and result.at_fault is None
    assert "no known policy, laid over the reference, gives these logits" in result.diagnosis


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [("causal", Verdict.KNOWN), ("clamp", Verdict.FIXED), ("window-plus-one", Verdict.DIVERGED)],
)
def test_a_declared_policy_is_known_by_its_logits(tmp_path: Path, policy: str, verdict: Verdict) -> None:
    assert unseen(tmp_path, SHORT, policy, CAUSAL).verdict is verdict


def test_where_the_declared_policy_is_the_intended_one_right_logits_pass(tmp_path: Path) -> None:
    assert unseen(tmp_path, TEXT, "clamp", CAUSAL).verdict is Verdict.PASS


def test_tokens_that_the_sampler_is_not_given_are_left_out(tmp_path: Path) -> None:
    assert unseen(tmp_path, LONG, "clamp", suppressed=(3, 7)).verdict is Verdict.PASS
    wrong = unseen(tmp_path / "wrong", LONG, "causal", suppressed=(3, 7))
    assert wrong.verdict is Verdict.DIVERGED and np.isfinite(wrong.logits.ratio)


def test_a_reference_that_takes_no_masks_is_said_to_be_one(tmp_path: Path) -> None:
    reference = write(tmp_path / "reference", SHORT, masks_of("clamp", SHORT), side="reference")
    serving = write(tmp_path / "serving", SHORT, [], side="serving", unseen=len(SHORT), error=1000 * NOISE)
    result = judged(reference, serving, SHORT)
    assert result.verdict is Verdict.DIVERGED and "was not tried" in result.diagnosis


def test_only_rows_that_nobody_observed_are_forced(tmp_path: Path) -> None:
    reference = write(tmp_path / "reference", SHORT, masks_of("clamp", SHORT), side="reference")
    serving = write(tmp_path / "serving", SHORT, masks_of("clamp", SHORT), side="serving", unseen=9)
    found = candidates(SHORT, SPEC, reference, serving)
    assert {one.forced.positions for one in found} == {tuple(range(len(SHORT) - 9, len(SHORT)))}
    late = write(tmp_path / "late", SHORT, masks_of("clamp", SHORT), side="serving", unseen=2)
    assert "causal" not in {sliding for one in candidates(SHORT, SPEC, reference, late) for sliding, _ in one.policies}


@pytest.mark.parametrize(("beside", "verdict"), [(0.0, Verdict.KNOWN), (0.5, Verdict.DIVERGED)])
def test_declared_masks_that_were_seen_hide_no_other_logits_than_theirs(
    tmp_path: Path, beside: float, verdict: Verdict
) -> None:
    drop = Declared(policy="drop", link="https://example.org", reason="long images are causal")
    reference = write(tmp_path / "reference", LONG, masks_of("clamp", LONG), side="reference")
    truth = truth_of(LONG, 7)
    attends = write(tmp_path / "laid", LONG, masks_of("clamp", LONG), side="reference", truth=truth)
    serving = write(tmp_path / "serving", LONG, masks_of("drop", LONG), side="serving", truth=truth + beside)
    laid = [Laid(of_all_rows(LONG, ("drop", "causal")), attends)]
    result = judged(reference, serving, LONG, drop, laid=laid)
    assert result.verdict is verdict and result.at_fault == "serving"
    assert ("do not explain the logits" in result.diagnosis) == bool(beside)


def test_where_declared_masks_give_no_numbers_on_either_side_there_is_no_answer(tmp_path: Path) -> None:
    drop = Declared(policy="drop", link="https://example.org", reason="long images are causal")
    reference = write(tmp_path / "reference", LONG, masks_of("clamp", LONG), side="reference")
    truth = truth_of(LONG, 7)
    truth[3] = np.nan
    attends = write(tmp_path / "laid", LONG, masks_of("clamp", LONG), side="reference", truth=truth)
    serving = write(tmp_path / "serving", LONG, masks_of("drop", LONG), side="serving", truth=truth)
    laid = [Laid(of_all_rows(LONG, ("drop", "causal")), attends)]
    result = judged(reference, serving, LONG, drop, laid=laid)
    assert (
        result.verdict is Verdict.ERROR and "the logits of both sides are not finite at position 3" in result.diagnosis
    )
