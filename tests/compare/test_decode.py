"""A prompt that is continued: the verdict names the side whose steps are wrong."""

from pathlib import Path

import pytest

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import NOISE, judged, masks_of, write

LAYOUT = Layout.parse("t3 i5 t4").continued(3)
DECODE = Setting.of(decode=3)
FAR = 1000 * NOISE


def decoded(folder: Path, *, reference: float, serving: float, unseen: int = 0) -> CaseResult:
    """The verdict where the reference's cached decode and serving are off by this much."""
    masks = masks_of("clamp", LAYOUT)
    theirs = write(folder / "reference", LAYOUT, masks, side="reference", decoded=(3, reference))
    ours = write(folder / "serving", LAYOUT, masks, side="serving", error=serving, unseen=unseen)
    return judged(theirs, ours, LAYOUT, setting=DECODE)


@pytest.mark.parametrize(
    ("reference", "serving", "verdict", "at_fault"),
    [
        (NOISE, NOISE, Verdict.PASS, None),
        (FAR, NOISE, Verdict.DIVERGED, "reference"),
        (NOISE, FAR, Verdict.DIVERGED, "serving"),
        (FAR, FAR, Verdict.DIVERGED, "both"),
    ],
)
def test_the_side_that_is_off_the_one_shot_forward_is_at_fault(
    tmp_path: Path, reference: float, serving: float, verdict: Verdict, at_fault: str | None
) -> None:
    result = decoded(tmp_path, reference=reference, serving=serving)
    assert (result.verdict, result.at_fault) == (verdict, at_fault), result.diagnosis
    assert result.cached_logits is not None and result.cached_logits.within == (reference == NOISE)
    assert CaseResult.from_dict({**result.to_dict(), "verdict": result.verdict.name}) == result


def test_a_reference_that_is_off_is_named_where_it_begins(tmp_path: Path) -> None:
    result = decoded(tmp_path, reference=FAR, serving=NOISE)
    assert "the reference's own cached decode is off its one-shot forward at position " in result.diagnosis
    assert "the reference is at fault, serving is not" in result.diagnosis
    assert result.cached_logits and result.cached_logits.position_of_worst >= len(LAYOUT) - 4


def test_steps_without_hooks_are_judged_by_their_logits_and_the_case_says_so(tmp_path: Path) -> None:
    right = decoded(tmp_path / "right", reference=NOISE, serving=NOISE, unseen=3)
    assert right.verdict is Verdict.PASS
    assert "positions 14, 15, 16 ran where hooks are not called" in right.diagnosis
    assert "prefix cache" not in right.diagnosis
    wrong = decoded(tmp_path / "wrong", reference=NOISE, serving=FAR, unseen=3)
    assert wrong.verdict is Verdict.DIVERGED and not wrong.masks_differ


def test_a_prompt_that_is_not_continued_says_nothing_of_a_cache(tmp_path: Path) -> None:
    layout = Layout.parse("t5")
    reference, serving = (
        write(tmp_path / side, layout, masks_of("clamp", layout), side=side) for side in ("reference", "serving")
    )
    result = judged(reference, serving, layout)
    assert result.verdict is Verdict.PASS and result.cached_logits is None and "cached" not in result.diagnosis
