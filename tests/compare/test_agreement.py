"""Several references: which sides agree, which one is named as the odd one out, and what that makes of the verdict."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.captures.read import Capture
from harness.compare.agreement import Answer, with_further
from harness.compare.known import Declared
from harness.compare.result import CaseResult, Failure
from harness.compare.verdict import Verdict
from harness.errors import FailureKind
from harness.prompts.layout import Layout
from tests.compare.captures import NOISE, SPEC, judged, masks_of, write

OFFICIAL = {"gemma": "4.0.1", "jax": "0.12.0"}
BOTH_SIDES = Declared(policy="clamp-both", reference="official", link="https://example.org", reason="it is known")
SHORT, LONG = Layout.parse("t3 i5 t4"), Layout.parse("t3 i9 t4")
PAIRS_OF_LONG = 1
"""(n - W)(n - W + 1) / 2 of an image of n = 9 and W = 8."""


def official(folder: Path, layout: Layout, policy: str, error: float = NOISE) -> Capture:
    masks = masks_of(policy, layout)
    return write(folder / "official", layout, masks, side="reference", error=error, versions=OFFICIAL)


def three(
    folder: Path,
    layout: Layout,
    reference: str = "clamp",
    serving: str = "clamp",
    third: str = "clamp",
    *,
    error: float = NOISE,
    declared: Declared | None = None,
) -> CaseResult:
    """Serving and transformers with these policies, and the official reference beside them."""
    theirs = write(folder / "reference", layout, masks_of(reference, layout), side="reference")
    ours = write(folder / "serving", layout, masks_of(serving, layout), side="serving")
    answer = Answer("official", official(folder, layout, third, error), declared)
    return with_further(judged(theirs, ours, layout), layout, SPEC, theirs, ours, [answer])


def groups_of(result: CaseResult) -> list[list[str]]:
    return next(one.groups for one in result.agreement if 0 in one.layers)


def test_three_that_agree_pass(tmp_path: Path) -> None:
    result = three(tmp_path, SHORT, third="clamp-both")
    assert result.verdict is Verdict.PASS
    assert "serving, transformers 5.19.0 and official 4.0.1 agree in every layer's mask" in result.diagnosis
    assert all(one.within for one in result.further[0].logits.values())


def test_a_further_reference_that_agrees_with_nobody_is_a_divergence_that_names_it(tmp_path: Path) -> None:
    result = three(tmp_path, LONG, third="clamp-both")
    assert result.verdict is Verdict.DIVERGED
    assert "official 4.0.1 stands alone with `clamp-both`; serving and transformers 5.19.0 agree on `clamp`" in (
        result.diagnosis
    )
    layer = result.further[0].layers[0]
    assert layer.apart == {"reference": [PAIRS_OF_LONG, 0], "serving": [PAIRS_OF_LONG, 0]}
    assert result.further[0].logits == {}


@pytest.mark.parametrize(
    ("reference", "serving", "odd"), [("causal", "clamp", "transformers"), ("clamp", "causal", "serving")]
)
def test_whoever_is_alone_is_named_also_if_it_is_the_first_reference(
    reference: str, serving: str, odd: str, tmp_path: Path
) -> None:
    result = three(tmp_path, SHORT, reference, serving)
    assert result.verdict is Verdict.DIVERGED
    sentence = next(one.sentence for one in result.agreement if 0 in one.layers)
    assert f": {odd}" in sentence and " stands alone with `causal`" in sentence


def test_where_no_two_agree_that_is_said(tmp_path: Path) -> None:
    result = three(tmp_path, LONG, "clamp", "causal", "clamp-both")
    assert len(groups_of(result)) == 3
    assert "no two agree: serving follows `drop`" in result.diagnosis


def test_logits_of_a_further_reference_are_judged_where_masks_are_equal(tmp_path: Path) -> None:
    result = three(tmp_path, SHORT, error=1.0)
    assert result.verdict is Verdict.PASS, "an error of its own floor is no divergence of its truth"
    theirs, ours = (
        write(tmp_path / side, SHORT, masks_of("clamp", SHORT), side=side) for side in ("reference", "serving")
    )
    third = official(tmp_path, SHORT, "clamp")
    third.tensors["logits"] = third.tensors["logits"] + 1.0
    third.tensors["truth.logits"] = third.tensors["truth.logits"] + 1.0
    result = with_further(judged(theirs, ours, SHORT), SHORT, SPEC, theirs, ours, [Answer("official", third)])
    assert result.verdict is Verdict.DIVERGED
    assert "with equal masks official 4.0.1 stands alone in its logits" in result.diagnosis


def test_what_is_declared_of_a_reference_is_known_and_fixed_when_it_is_gone(tmp_path: Path) -> None:
    assert three(tmp_path / "a", LONG, third="clamp-both", declared=BOTH_SIDES).verdict is Verdict.KNOWN
    assert three(tmp_path / "b", LONG, third="clamp", declared=BOTH_SIDES).verdict is Verdict.FIXED
    assert three(tmp_path / "c", LONG, third="causal", declared=BOTH_SIDES).verdict is Verdict.DIVERGED
    assert three(tmp_path / "d", SHORT, third="clamp", declared=BOTH_SIDES).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("second", "verdict"), [("unclamped", Verdict.KNOWN), ("clamp", Verdict.FIXED), ("causal", Verdict.DIVERGED)]
)
def test_what_is_declared_of_each_of_several_is_looked_at(second: str, verdict: Verdict, tmp_path: Path) -> None:
    theirs, ours = (
        write(tmp_path / side, LONG, masks_of("clamp", LONG), side=side) for side in ("reference", "serving")
    )
    keras = write(tmp_path / "keras", LONG, masks_of(second, LONG), side="reference", versions={"keras-hub": "0.32.0"})
    answers = [
        Answer("official", official(tmp_path, LONG, "clamp-both"), BOTH_SIDES),
        Answer("keras-hub", keras, replace(BOTH_SIDES, policy="unclamped", reference="keras-hub")),
    ]
    assert with_further(judged(theirs, ours, LONG), LONG, SPEC, theirs, ours, answers).verdict is verdict


def test_of_what_is_declared_that_is_named_which_a_verdict_comes_from(tmp_path: Path) -> None:
    theirs, ours = (
        write(tmp_path / side, LONG, masks_of("clamp", LONG), side=side) for side in ("reference", "serving")
    )
    of_serving = replace(judged(theirs, ours, LONG), declared={"policy": "drop"})
    answer = Answer("official", official(tmp_path, LONG, "clamp-both"), BOTH_SIDES)
    assert with_further(of_serving, LONG, SPEC, theirs, ours, [answer]).declared == BOTH_SIDES.to_dict()
    assert with_further(of_serving, LONG, SPEC, theirs, ours, []).declared == {"policy": "drop"}


@pytest.mark.parametrize(
    ("reference", "serving", "verdict"),
    [
        ("clamp-both", "clamp", Verdict.KNOWN),
        ("clamp-both", "clamp-both", Verdict.PASS),
        ("clamp", "clamp", Verdict.FIXED),
        ("clamp-both", "causal", Verdict.DIVERGED),
        ("causal", "clamp", Verdict.DIVERGED),
    ],
)
def test_the_first_reference_may_be_declared_too(
    reference: str, serving: str, verdict: Verdict, tmp_path: Path
) -> None:
    ours = write(tmp_path / "serving", LONG, masks_of(serving, LONG), side="serving")
    assert judged(official(tmp_path, LONG, reference), ours, LONG, aside=BOTH_SIDES).verdict is verdict


@pytest.mark.parametrize(
    ("kind", "verdict"), [(FailureKind.UNSUPPORTED, Verdict.PASS), (FailureKind.GONE, Verdict.ERROR)]
)
def test_a_further_reference_without_an_answer_is_said(kind: FailureKind, verdict: Verdict, tmp_path: Path) -> None:
    theirs, ours = (
        write(tmp_path / side, SHORT, masks_of("clamp", SHORT), side=side) for side in ("reference", "serving")
    )
    answer = Answer("official==4.0.1", Failure("reference", kind, "no room"))
    result = with_further(judged(theirs, ours, SHORT), SHORT, SPEC, theirs, ours, [answer])
    assert result.verdict is verdict and "official==4.0.1 has no answer: no room" in result.diagnosis


def test_another_checkpoint_is_nothing_to_compare_with(tmp_path: Path) -> None:
    theirs, ours = (
        write(tmp_path / side, SHORT, masks_of("clamp", SHORT), side=side) for side in ("reference", "serving")
    )
    third = official(tmp_path, SHORT, "clamp")
    file = third.directory / "capture.json"
    file.write_text(file.read_text().replace("a" * 64, "b" * 64))
    result = with_further(judged(theirs, ours, SHORT), SHORT, SPEC, theirs, ours, [Answer("official", third)])
    assert result.verdict is Verdict.ERROR and "a checkpoint with the content" in result.diagnosis


POLICIES = st.sampled_from(["clamp", "clamp-both", "causal", "drop", "unclamped"])
LAYOUTS = st.sampled_from(["t12", "t3 i5 t4", "t3 i9 t4", "t2 i12 t1 i3"])


@settings(max_examples=20)
@given(layout=LAYOUTS, policies=st.tuples(POLICIES, POLICIES, POLICIES))
def test_sides_are_together_where_their_masks_are_equal_and_only_there(
    layout: str, policies: tuple[str, str, str]
) -> None:
    parsed = Layout.parse(layout)
    with tempfile.TemporaryDirectory() as folder:
        result = three(Path(folder), parsed, *policies)
    names = ("transformers 5.19.0", "serving", "official 4.0.1")
    masks = dict(zip(names, (masks_of(policy, parsed)[0] for policy in policies), strict=True))
    groups = groups_of(result)
    assert sorted(name for group in groups for name in group) == sorted(names)
    for one in names:
        for other in names:
            together = any(one in group and other in group for group in groups)
            assert together == np.array_equal(masks[one], masks[other])
    again = CaseResult.from_dict(result.to_dict())
    assert (again.further, again.agreement) == (result.further, result.agreement)


def test_what_two_references_have_to_say_alike_is_said_once(tmp_path: Path) -> None:
    theirs, ours = (
        write(tmp_path / side, SHORT, masks_of("clamp", SHORT), side=side) for side in ("reference", "serving")
    )
    third = write(tmp_path / "third", SHORT, masks_of("clamp", SHORT), side="reference", transformers="5.24.0")
    for capture, notes in ((theirs, ["masks are given"]), (third, ["masks are given", "another"])):
        file = capture.directory / "capture.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "notes": notes}))
    result = with_further(judged(theirs, ours, SHORT), SHORT, SPEC, theirs, ours, [Answer("transformers", third)])
    assert result.verdict is Verdict.PASS, result.diagnosis
    assert (result.diagnosis.count("masks are given"), result.diagnosis.count("another")) == (1, 1)
