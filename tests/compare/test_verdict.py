"""Two captures become the verdict that their masks and logits call for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.masks.policies import POLICIES
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.strategies import threshold_layouts
from harness.verification.session import Pair
from harness.verification.verify import compared
from tests.compare.captures import NOISE, SPEC, judged, masks_of, write

SHORT, LONG = "t3 i5 t4", "t3 i12 t4"
DROP = Declared("drop", "https://example.org/1", "images longer than the window are causal")


def verdict(path: Path, text: str, serving: str, declared: Declared | None = None, error: float = NOISE) -> CaseResult:
    layout = Layout.parse(text)
    theirs = write(path / "reference", layout, masks_of("clamp", layout), side="reference")
    ours = write(path / "serving", layout, masks_of(serving, layout), side="serving", error=error)
    return judged(theirs, ours, layout, declared)


@pytest.mark.parametrize(
    ("layout", "serving", "declared", "error", "expected"),
    [
        pytest.param(LONG, "clamp", None, NOISE, Verdict.PASS, id="equal masks and logits"),
        pytest.param(LONG, "drop", None, NOISE, Verdict.DIVERGED, id="other masks"),
        pytest.param(LONG, "drop", DROP, NOISE, Verdict.KNOWN, id="exactly the declared masks"),
        pytest.param(LONG, "drop", DROP, 1.0, Verdict.KNOWN, id="the declared masks and the logits that follow"),
        pytest.param(LONG, "causal", DROP, NOISE, Verdict.KNOWN, id="the declared masks under another name"),
        pytest.param(LONG, "unclamped", DROP, NOISE, Verdict.DIVERGED, id="other masks than declared"),
        pytest.param(LONG, "clamp", DROP, NOISE, Verdict.FIXED, id="the declared divergence is gone"),
        pytest.param(
            LONG, "clamp", DROP, 1.0, Verdict.DIVERGED, id="the declared divergence is gone, and logits are wrong"
        ),
        pytest.param(SHORT, "clamp", DROP, NOISE, Verdict.PASS, id="the declaration does not touch this layout"),
        pytest.param(SHORT, "causal", DROP, NOISE, Verdict.DIVERGED, id="a divergence where the declaration has none"),
        pytest.param(LONG, "clamp", None, 1.0, Verdict.DIVERGED, id="equal masks, other logits"),
        pytest.param(SHORT, "clamp", DROP, 1.0, Verdict.DIVERGED, id="other logits where the declaration has none"),
    ],
)
def test_verdict(
    tmp_path: Path, layout: str, serving: str, declared: Declared | None, error: float, expected: Verdict
) -> None:
    assert verdict(tmp_path, layout, serving, declared, error).verdict is expected


def test_a_declared_divergence_that_is_gone_hides_no_wrong_logits(tmp_path: Path) -> None:
    said = verdict(tmp_path, LONG, "clamp", DROP, 1.0).diagnosis
    assert "the logits at position" in said and said.endswith(DROP.gone)


TF32 = Declared(precision="tf32", link="https://example.org/2", reason="the kernel multiplies in TF32")


@pytest.mark.parametrize(
    ("serving", "error", "coarse", "expected"),
    [
        pytest.param("clamp", 1e-2, 5e-3, Verdict.KNOWN, id="within the floor of TF32"),
        pytest.param("clamp", 1e-1, 5e-3, Verdict.DIVERGED, id="beyond the floor of TF32"),
        pytest.param("clamp", 1e-2, 0, Verdict.DIVERGED, id="the reference was not run in TF32"),
        pytest.param("clamp", NOISE, 5e-3, Verdict.FIXED, id="within the floor of float32"),
        pytest.param("clamp", NOISE, 2 * NOISE, Verdict.PASS, id="TF32 would not show either"),
        pytest.param("drop", 1e-2, 5e-3, Verdict.DIVERGED, id="other masks"),
    ],
)
def test_a_declared_precision_explains_logits_and_no_masks(
    tmp_path: Path, serving: str, error: float, coarse: float, expected: Verdict
) -> None:
    layout = Layout.parse(LONG)
    theirs = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference", coarse=coarse)
    ours = write(tmp_path / "serving", layout, masks_of(serving, layout), side="serving", error=error)
    result = judged(theirs, ours, layout, imprecise=TF32)
    assert result.verdict is expected
    assert (TF32.link in result.diagnosis) == (expected in (Verdict.KNOWN, Verdict.FIXED))
    undeclared = judged(theirs, ours, layout)
    assert undeclared.verdict is (Verdict.PASS if error == NOISE and serving == "clamp" else Verdict.DIVERGED)
    assert ("serving multiplies in TF32" in undeclared.diagnosis) == (expected is Verdict.KNOWN)


OFF = Declared(
    logits=True,
    first_layer=1,
    certain=True,
    link="https://example.org/3",
    reason="layer 1 multiplies by two",
    settings=(("runner", ("v2",)),),
)


@pytest.mark.parametrize(
    ("serving", "error", "first", "declared", "expected"),
    [
        pytest.param("clamp", 1e-2, 1, OFF, Verdict.KNOWN, id="off from the declared layer on"),
        pytest.param("clamp", 1e-2, 0, OFF, Verdict.DIVERGED, id="off from an earlier layer on"),
        pytest.param("clamp", 1e-2, 2, OFF, Verdict.DIVERGED, id="off from a later layer on"),
        pytest.param("clamp", 1e-2, None, OFF, Verdict.DIVERGED, id="no layer is off"),
        pytest.param("drop", 1e-2, 1, OFF, Verdict.DIVERGED, id="other masks"),
        pytest.param("clamp", float("nan"), 1, OFF, Verdict.DIVERGED, id="no numbers"),
        pytest.param("clamp", NOISE, None, OFF, Verdict.FIXED, id="right again"),
        pytest.param("clamp", NOISE, None, replace(OFF, certain=False), Verdict.PASS, id="it does not always come"),
        pytest.param(
            "clamp", 1e-2, 0, replace(OFF, first_layer=None, mended_by=("pr-48421",)), Verdict.KNOWN, id="any layer"
        ),
    ],
)
def test_declared_logits_are_off_from_their_layer_on_with_equal_masks(
    tmp_path: Path, serving: str, error: float, first: int | None, declared: Declared, expected: Verdict
) -> None:
    layout = Layout.parse(LONG)
    theirs = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference")
    ours = write(
        tmp_path / "serving", layout, masks_of(serving, layout), side="serving", error=error, hidden_off_from=first
    )
    result = judged(theirs, ours, layout, off=declared)
    assert result.verdict is expected, result.diagnosis
    told = serving == "clamp" and np.isfinite(error) and expected is not Verdict.PASS
    assert (declared.link in result.diagnosis) == told


def test_declared_logits_excuse_nothing_where_a_mask_was_not_observed(tmp_path: Path) -> None:
    layout = Layout.parse(LONG)
    theirs = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference")
    ours = masks_of("clamp", layout)
    for unseen in (1, len(layout)):
        name = tmp_path / f"serving-{unseen}"
        serving = write(name, layout, ours, side="serving", error=1e-2, hidden_off_from=1, unseen=unseen)
        assert judged(theirs, serving, layout, off=OFF).verdict is Verdict.DIVERGED


EXPLAIN = sorted(name for name, policy in POLICIES.items() if policy.on_sliding and policy.family in ("", SPEC.family))
"""Policies that can explain the sliding layers of this model; the others are other families'."""


@given(layout=threshold_layouts(window=SPEC.window), policy=st.sampled_from(EXPLAIN))
def test_a_difference_in_any_layer_diverges_and_is_explained(tmp_path: Path, layout: Layout, policy: str) -> None:
    theirs, ours = masks_of("clamp", layout), masks_of(policy, layout)
    differ = [index for index, (a, b) in enumerate(zip(theirs, ours, strict=True)) if not np.array_equal(a, b)]
    reference = write(tmp_path / "reference", layout, theirs, side="reference")
    backend = POLICIES[policy].backend or "triton"
    result = judged(reference, write(tmp_path / "serving", layout, ours, side="serving", backend=backend), layout)
    assert result.verdict is (Verdict.DIVERGED if differ else Verdict.PASS)
    assert result.first_diverging_layer == (differ[0] if differ else None)
    for layer in result.layers:
        named = masks_of(layer.serving_policy, layout)[layer.index]
        assert np.array_equal(named, ours[layer.index])
        assert (layer.missing, layer.extra) == (
            int((theirs[layer.index] & ~ours[layer.index])[0].sum()),
            int((~theirs[layer.index] & ours[layer.index])[0].sum()),
        )


def test_a_policy_of_one_back_end_does_not_explain_the_mask_of_another(tmp_path: Path) -> None:
    layout = Layout.parse("t9 i9 t4")
    theirs, ours = masks_of("clamp", layout), masks_of("causal-blocks", layout)
    for backend, policy in (("FLEX_ATTENTION", "causal-blocks"), ("flex", "causal-blocks"), ("triton", None)):
        reference = write(tmp_path / "reference", layout, theirs, side="reference")
        serving = write(tmp_path / "serving", layout, ours, side="serving", backend=backend)
        assert judged(reference, serving, layout).layers[0].serving_policy == policy


def test_a_mask_that_no_policy_gives_diverges_and_says_so(tmp_path: Path) -> None:
    layout = Layout.parse(LONG)
    ours = masks_of("clamp", layout)
    ours[1][:, 6, 4] = False
    reference = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference")
    result = judged(reference, write(tmp_path / "serving", layout, ours, side="serving"), layout)
    assert result.verdict is Verdict.DIVERGED
    assert result.layers[1].serving_policy is None
    assert "sliding layer 1: no known policy explains the serving mask" in result.diagnosis
    assert result.layers[1].first_difference["text"] == (
        "query 6 = image 1, soft token 3, key 4 = image 1, soft token 1: the reference attends, serving does not"
    )


def test_one_kv_head_group_that_differs_is_enough(tmp_path: Path) -> None:
    layout = Layout.parse(LONG)
    ours = masks_of("clamp", layout)
    ours[0][1] = masks_of("drop", layout)[0][1]
    reference = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference")
    serving = write(tmp_path / "serving", layout, ours, side="serving")
    result = judged(reference, serving, layout, DROP)
    assert result.verdict is Verdict.DIVERGED
    assert result.layers[0].first_difference["kv_head_group"] == 1
    assert "in KV head group 1 only" in result.diagnosis


def test_a_declaration_holds_only_if_every_sliding_layer_shows_it(tmp_path: Path) -> None:
    layout = Layout.parse(LONG)
    ours = [masks_of("drop", layout)[0], *masks_of("clamp", layout)[1:]]
    reference = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference")
    result = judged(reference, write(tmp_path / "serving", layout, ours, side="serving"), layout, DROP)
    assert result.verdict is Verdict.DIVERGED
    assert "not the declared divergence `drop`" in result.diagnosis


def test_nan_in_serving_diverges_although_every_mask_is_equal(tmp_path: Path) -> None:
    assert verdict(tmp_path, LONG, "clamp", error=float("nan")).verdict is Verdict.DIVERGED


def test_positions_from_the_prefix_cache_are_not_judged(tmp_path: Path) -> None:
    layout = Layout.parse(LONG)
    reference = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference")
    for policy, expected in (("clamp", Verdict.PASS), ("drop", Verdict.DIVERGED)):
        ours = masks_of(policy, layout)
        serving = write(tmp_path / policy, layout, ours, side="serving", cached=6)
        result = judged(reference, serving, layout)
        assert result.verdict is expected
        assert "6 positions came from the prefix cache and were not computed" in result.diagnosis
        assert result.layers[0].serving_policy == policy
        assert result.layers[0].serving_pairs == int(ours[0][0, 6:].sum())
        assert {layer.hidden_max_abs_diff for layer in result.layers} == {0.0}


def test_where_the_prefix_cache_had_all_that_is_compared_there_is_no_answer(tmp_path: Path) -> None:
    layout = Layout.parse(LONG)
    reference = write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference", at=(0, 2))
    serving = write(tmp_path / "serving", layout, masks_of("clamp", layout), side="serving", cached=3, at=(0, 2))
    with pytest.raises(ValueError, match="none of the positions that are compared, 0, 2: the prefix cache had them"):
        judged(reference, serving, layout)
    some = write(tmp_path / "some", layout, masks_of("clamp", layout), side="serving", cached=2, at=(0, 2))
    assert "logits were compared at 1 of 21 positions" in judged(reference, some, layout).diagnosis


def test_captures_of_different_prompts_are_not_compared(tmp_path: Path) -> None:
    short, long = Layout.parse(SHORT), Layout.parse(LONG)
    reference = write(tmp_path / "reference", short, masks_of("clamp", short), side="reference")
    serving = write(tmp_path / "serving", long, masks_of("clamp", long), side="serving")
    with pytest.raises(ValueError, match="not given the same tokens"):
        judged(reference, serving, short)


@pytest.mark.parametrize("asked", [Setting(), Setting.of(backend="auto", runner="auto")])
def test_what_the_engine_chose_counts_not_what_was_asked_for(tmp_path: Path, asked: Setting) -> None:
    layout = Layout.parse(LONG)
    pair = Pair(
        write(tmp_path / "reference", layout, masks_of("clamp", layout), side="reference"),
        write(tmp_path / "serving", layout, masks_of("drop", layout), side="serving", backend="FLASH_ATTN"),
        started=0,
    )
    case = Case("case", "", LONG)
    meant = (
        ("FLASH_ATTN", "v2", Verdict.KNOWN),
        ("FLASH_ATTN", "v1", Verdict.DIVERGED),
        ("triton", "v2", Verdict.DIVERGED),
    )
    for backend, runner, expected in meant:
        declared = replace(DROP, backends=(backend,), runners=(runner,))
        assert compared(case, layout, SPEC, asked, pair, [declared], "harness run").verdict is expected
