"""Serving of which a part was not seen: layers that were not asked for, what the prefix cache had. And ranks with copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.compare.comparison import CaseResult
from harness.compare.known import Declared
from harness.compare.likely import Laid, candidates
from harness.compare.surplus import Steps
from harness.compare.verdict import Verdict
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.session import Pair
from harness.verification.verify import compared
from tests.compare.captures import PLAIN, SPEC, judged, mask_of, masks_of, truth_of, write

SHORT = Layout.parse("t4 i5 t4")
LINK = "https://example.org"
CAUSAL = Declared(policy="causal", link=LINK, reason="images are causal")
FULL, IMAGE = 2, 11
"""The full layer, and the positions up to the end of the image."""


def in_part(
    folder: Path, policy: str, *, declared: Declared | None = None, only: tuple[int, ...] = (), cached: int = 0
):
    """The verdict on serving that masked by ``policy`` where nobody saw it. Under each policy the model has other logits."""
    right = {"side": "reference", "only": only}
    reference = write(folder / "reference", SHORT, masks_of("clamp", SHORT), **right)
    seen = {"side": "serving", "only": only, "cached": cached}
    serving = write(folder / "nothing", SHORT, masks_of("clamp", SHORT), **seen)
    other, laid = {"clamp": truth_of(SHORT)}, []
    for number, one in enumerate(candidates(SHORT, SPEC, reference, serving, declared), start=1):
        truth = truth_of(SHORT) if ("clamp", "causal") in one.policies else truth_of(SHORT, number)
        other |= {sliding: truth for sliding, full in one.policies if full == "causal"}
        laid.append(
            Laid(one, write(folder / str(number), SHORT, masks_of("clamp", SHORT), side="reference", truth=truth))
        )
    serving = write(folder / "serving", SHORT, masks_of("clamp", SHORT), truth=other[policy], **seen)
    return judged(reference, serving, SHORT, declared, laid=laid)


@pytest.mark.parametrize("how", [{"only": (FULL,)}, {"cached": IMAGE}], ids=["one layer", "a cached image"])
@pytest.mark.parametrize(
    ("policy", "declared", "verdict"),
    [
        ("clamp", None, Verdict.PASS),
        ("clamp", CAUSAL, Verdict.PASS),
        ("causal", None, Verdict.DIVERGED),
        ("causal", CAUSAL, Verdict.KNOWN),
        ("window-plus-one", CAUSAL, Verdict.DIVERGED),
    ],
)
def test_logits_tell_what_nobody_saw(
    tmp_path: Path, how: dict, policy: str, declared: Declared | None, verdict: Verdict
) -> None:
    result = in_part(tmp_path, policy, declared=declared, **how)
    assert result.verdict is verdict, result.diagnosis
    assert "what is attended to is right" not in result.diagnosis
    assert ("every observed layer's mask is equal" in result.diagnosis) == ("only" in how)


def test_a_policy_that_what_was_seen_excludes_is_not_tried(tmp_path: Path) -> None:
    reference = write(tmp_path / "reference", SHORT, masks_of("clamp", SHORT), side="reference", only=(0,))
    serving = write(tmp_path / "serving", SHORT, masks_of("clamp", SHORT), side="serving", only=(0,))
    tried = {policies for one in candidates(SHORT, SPEC, reference, serving) for policies in one.policies}
    assert tried and {sliding for sliding, _ in tried} <= {"clamp", "clamp-both", "unclamped", "everywhere"} | {
        sliding
        for sliding, _ in tried
        if np.array_equal(*(mask_of(one, SHORT, SPEC.window, sliding=True) for one in (sliding, "clamp")))
    }
    assert ("causal", "causal") not in tried


def served(folder: Path, masks: list[np.ndarray], steps: list[list[int]], declared: list[Declared]) -> CaseResult:
    reference = write(folder / "reference", SHORT, masks_of("clamp", SHORT), side="reference")
    serving = write(folder / "serving", SHORT, masks, side="serving", steps=steps)
    case = Case("split", "", str(SHORT))
    return compared(case, SHORT, SPEC, PLAIN, Pair(reference, serving, 0.0), declared, "harness run")


def test_of_several_declarations_that_hold_the_one_that_the_masks_follow_is_meant(tmp_path: Path) -> None:
    drop = Declared(policy="drop", link=f"{LINK}/drop", reason="long images are causal")
    split = Declared(policy="clamp", split=True, link=f"{LINK}/split", reason="images are split")
    steps = [[0, 6], [7, len(SHORT) - 1]]
    masks = [mask & Steps(steps, len(SHORT)).visible for mask in masks_of("clamp", SHORT)]
    for number, declared in enumerate(([split], [drop, split], [split, drop])):
        result = served(tmp_path / str(number), masks, steps, declared)
        assert result.verdict is Verdict.KNOWN and split.link in result.diagnosis, result.diagnosis
    nothing = served(tmp_path / "drop", masks, steps, [drop])
    assert nothing.verdict is Verdict.DIVERGED


def test_a_rank_whose_copy_of_a_head_masks_otherwise_is_a_divergence(tmp_path: Path) -> None:
    copies = [np.repeat(mask[:1], 4, axis=0) for mask in masks_of("clamp", SHORT)]
    copies[0][1] = mask_of("causal", SHORT, SPEC.window, sliding=True)
    reference = write(tmp_path / "reference", SHORT, masks_of("clamp", SHORT), side="reference")
    serving = write(tmp_path / "serving", SHORT, copies, side="serving", truth=truth_of(SHORT, 5))
    result = judged(reference, serving, SHORT)
    assert result.verdict is Verdict.DIVERGED and result.at_fault == "serving"
    assert result.layers[0].differs and not result.layers[1].differs
    assert result.layers[0].first_difference and result.layers[0].first_difference["kv_head_group"] == 1
