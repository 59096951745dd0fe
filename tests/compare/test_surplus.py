"""Rows that count keys beside those that they attend: what is said of them, and when they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.compare import surplus
from harness.compare.known import Declared
from harness.compare.likely import Laid, of_all_rows
from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import KV_HEADS, judged, masks_of, truth_of, write

LAYOUT = Layout.parse("t3 i9 t2")
STEPS = [[0, 7], [8, 15]]
"""The image's soft tokens are 4 to 12: the first step ends inside it."""
SPLIT = Declared("clamp", "https://example.org/1", "images are split", split=True)


def counting(queries: slice, more: int) -> np.ndarray:
    counted = np.zeros((KV_HEADS, len(LAYOUT)), dtype=int)
    counted[:, queries] = more
    return counted


def compared(tmp_path: Path, *, split: bool = True, declared: Declared | None = None, **seen: object) -> CaseResult:
    """The verdict where serving has two steps and loses, if it is ``split``, what the first could not see."""
    visible = surplus.Steps(STEPS, len(LAYOUT)).visible
    masks = [mask & visible if split else mask for mask in masks_of("clamp", LAYOUT)]
    serving = write(tmp_path / "s", LAYOUT, masks, side="serving", steps=STEPS, **seen)
    return judged(write(tmp_path / "r", LAYOUT, masks_of("clamp", LAYOUT), side="reference"), serving, LAYOUT, declared)


def test_keys_that_do_not_exist_yet_are_a_divergence_with_their_number_and_place(tmp_path: Path) -> None:
    result = compared(tmp_path, surplus=counting(slice(4, 8), 5), ranges=[[4, 12]])
    assert (result.verdict, result.first_diverging_layer) == (Verdict.DIVERGED, 0)
    assert result.layers[0].surplus == [[4, 7, 5]] and result.layers[2].surplus is None
    assert result.layers[0].serving_policy == "clamp, up to the end of each step"
    assert "4 queries count (4 to 7) 5 keys more than they attend: the weights are 1/(|A| + 5)" in result.diagnosis
    assert (
        "in step 1 the metadata's range 4 to 12 reaches beyond the last computed position 7, to 8 to 12"
        in result.diagnosis
    )
    assert CaseResult.from_dict(result.to_dict()) == result


def test_equal_masks_with_keys_too_many_are_a_divergence(tmp_path: Path) -> None:
    result = compared(tmp_path, split=False, surplus=counting(slice(6, 7), 1))
    assert result.verdict is Verdict.DIVERGED and result.masks_differ
    assert "1 query counts (6) 1 key more than it attends" in result.diagnosis
    assert "no range of the metadata reaches beyond the step" in result.diagnosis


@pytest.mark.parametrize(("more", "verdict"), [(0, Verdict.KNOWN), (5, Verdict.KNOWN), (6, Verdict.DIVERGED)])
def test_a_split_image_may_be_declared_with_what_its_later_part_has(
    tmp_path: Path, more: int, verdict: Verdict
) -> None:
    assert compared(tmp_path, declared=SPLIT, surplus=counting(slice(4, 8), more)).verdict is verdict


def test_text_that_counts_keys_too_many_is_not_meant_by_it(tmp_path: Path) -> None:
    assert compared(tmp_path, declared=SPLIT, surplus=counting(slice(1, 2), 1)).verdict is Verdict.DIVERGED


def test_a_declared_split_that_is_gone_is_fixed(tmp_path: Path) -> None:
    assert compared(tmp_path, split=False, declared=SPLIT).verdict is Verdict.FIXED


def test_another_declaration_does_not_cover_keys_too_many(tmp_path: Path) -> None:
    drop = Declared("drop", "https://example.org/1", "a reason")
    reference, serving = [
        write(tmp_path / side, LAYOUT, masks_of(policy, LAYOUT), side=side, **seen)
        for side, policy, seen in (
            ("reference", "clamp", {}),
            ("serving", "drop", {"surplus": counting(slice(5, 6), 1)}),
        )
    ]
    result = judged(reference, serving, LAYOUT, drop)
    assert result.verdict is Verdict.DIVERGED and "not the declared divergence" in result.diagnosis


def test_runs_are_those_of_the_group_that_has_most() -> None:
    assert surplus.runs(np.array([[0, 1, 0, 0], [0, 1, 1, 2]])) == [[1, 2, 1], [3, 3, 2]]
    assert surplus.runs(np.zeros((2, 3), dtype=int)) is None


@pytest.mark.parametrize(
    ("more", "off_at", "verdict"),
    [
        (0, None, Verdict.KNOWN),
        (0, 2, Verdict.DIVERGED),
        (0, 15, Verdict.DIVERGED),
        (5, 2, Verdict.DIVERGED),
        (5, 4, Verdict.KNOWN),
        (5, 15, Verdict.KNOWN),
    ],
)
def test_a_declared_split_hides_no_logits_but_those_that_follow_from_keys_that_do_not_exist(
    tmp_path: Path, more: int, off_at: int | None, verdict: Verdict
) -> None:
    """Queries 6 and 7 count them: the image attends to these two, and so does all behind; the text before it does not."""
    truth, steps = truth_of(LAYOUT, 7), surplus.Steps(STEPS, len(LAYOUT))
    off = truth + np.where(np.arange(len(LAYOUT)) == (-1 if off_at is None else off_at), 0.5, 0.0)[:, None]
    masks = [mask & steps.visible for mask in masks_of("clamp", LAYOUT)]
    counted = counting(slice(6, 8), more)
    serving = write(tmp_path / "s", LAYOUT, masks, side="serving", steps=STEPS, truth=off, surplus=counted)
    reference = write(tmp_path / "r", LAYOUT, masks_of("clamp", LAYOUT), side="reference")
    attends = write(tmp_path / "l", LAYOUT, masks, side="reference", truth=truth)
    laid = [Laid(of_all_rows(LAYOUT, ("clamp", "causal"), steps.reach), attends)]
    result = judged(reference, serving, LAYOUT, SPLIT, laid=laid)
    assert result.verdict is verdict, result.diagnosis
    assert ("do not explain the logits" in result.diagnosis) == (verdict is Verdict.DIVERGED)
    left = f"logits at {len(LAYOUT) - 4} positions are not judged, which follow from those keys"
    assert (left in result.diagnosis) == (more > 0 and verdict is Verdict.KNOWN)


def test_what_no_step_computed_was_cut_by_none() -> None:
    assert surplus.Steps([[2, 3], [4, 4]], 5).reach == [4, 4, 3, 3, 4]
