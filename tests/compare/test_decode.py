"""A prompt that is continued: the verdict names the side whose steps are wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.compare.known import Declared
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


WITH_IMAGE = Layout.parse("t3 i5 t4")
STATIC = Setting.of(reference_cache="static")
CAUSAL = Declared(
    policy="causal",
    reference="transformers",
    releases=">=5.17,<5.23",
    settings=(("reference_cache", ("static",)),),
    link="https://example.org",
    reason="it is known",
)


def with_cache(
    folder: Path, policy: str, *, off: float = NOISE, serving: str = "clamp", declared: Declared | None = None
) -> CaseResult:
    """The verdict where the reference masks by this policy with a cache, and is off by so much there."""
    own, masks = masks_of("clamp", WITH_IMAGE), masks_of(policy, WITH_IMAGE)
    tokens = len(WITH_IMAGE)
    theirs = write(
        folder / "reference", WITH_IMAGE, own, side="reference", decoded=(tokens - 1, off), cached_masks=masks
    )
    ours = write(folder / "serving", WITH_IMAGE, masks_of(serving, WITH_IMAGE), side="serving")
    return judged(theirs, ours, WITH_IMAGE, setting=STATIC, of_cache=declared)


def test_a_reference_that_masks_otherwise_with_a_cache_is_at_fault(tmp_path: Path) -> None:
    result = with_cache(tmp_path, "causal", off=FAR)
    assert (result.verdict, result.at_fault) == (Verdict.DIVERGED, "reference")
    assert "sliding layers 0, 1 mask by `causal`, without a cache by `clamp` (10 pairs missing, 0 extra)" in (
        result.diagnosis
    )
    assert "the reference is at fault, serving is not" in result.diagnosis


def test_a_reference_with_equal_masks_and_logits_passes_and_says_so(tmp_path: Path) -> None:
    result = with_cache(tmp_path, "clamp")
    assert result.verdict is Verdict.PASS
    assert "run with a static cache agrees with its one-shot forward" in result.diagnosis


def test_logits_of_a_cache_that_are_off_are_a_divergence_though_masks_are_equal(tmp_path: Path) -> None:
    assert with_cache(tmp_path, "clamp", off=FAR).at_fault == "reference"


@pytest.mark.parametrize(
    ("policy", "serving", "verdict"),
    [
        ("causal", "clamp", Verdict.KNOWN),
        ("clamp", "clamp", Verdict.FIXED),
        ("drop", "clamp", Verdict.FIXED),
        ("window-plus-one", "clamp", Verdict.DIVERGED),
        ("causal", "causal", Verdict.DIVERGED),
    ],
)
def test_what_is_declared_of_a_cache_is_known_while_it_is_there(
    tmp_path: Path, policy: str, serving: str, verdict: Verdict
) -> None:
    off = NOISE if policy in {"clamp", "drop"} else FAR
    assert with_cache(tmp_path, policy, off=off, serving=serving, declared=CAUSAL).verdict is verdict


def test_what_is_declared_of_a_cache_excuses_no_logits_that_are_no_numbers(tmp_path: Path) -> None:
    assert with_cache(tmp_path, "causal", off=float("nan"), declared=CAUSAL).verdict is Verdict.DIVERGED


def test_it_is_declared_of_a_release_with_this_cache_alone() -> None:
    assert CAUSAL.holds_of("transformers", "5.19.0", "gemma4", STATIC)
    assert not CAUSAL.holds_of("transformers", "5.23.0", "gemma4", STATIC)
    assert not CAUSAL.holds_of("transformers", "5.19.0", "gemma4")
    assert not CAUSAL.holds_of("transformers", "5.19.0", "gemma4", STATIC.with_(prefill_chunk_size=4))


def test_it_is_declared_of_one_member_of_a_family_where_that_is_named() -> None:
    of_12b = replace(CAUSAL, member="gemma4_unified")
    assert of_12b.holds_of("transformers", "5.19.0", "gemma4", STATIC, "gemma4_unified")
    assert not of_12b.holds_of("transformers", "5.19.0", "gemma4", STATIC, "gemma4")
    assert CAUSAL.holds_of("transformers", "5.19.0", "gemma4", STATIC, "gemma4_unified")


def test_an_image_that_is_cut_by_chunks_is_said_to_be(tmp_path: Path) -> None:
    chunked = STATIC.with_(prefill_chunk_size=7)
    tokens = np.arange(len(WITH_IMAGE))
    cut = [mask & (tokens[None, :] <= tokens[:, None] // 7 * 7 + 6) for mask in masks_of("clamp", WITH_IMAGE)]
    own = {"decoded": (len(WITH_IMAGE) - 1, FAR), "cached_masks": cut}
    theirs = write(tmp_path / "reference", WITH_IMAGE, masks_of("clamp", WITH_IMAGE), side="reference", **own)
    ours = write(tmp_path / "serving", WITH_IMAGE, masks_of("clamp", WITH_IMAGE), side="serving")
    result = judged(theirs, ours, WITH_IMAGE, setting=chunked)
    assert "masks by `clamp, up to the end of each step`" in result.diagnosis.replace("mask by", "masks by")
