"""The side whose masks are not those that are intended is the one that is named, whichever it is."""

from pathlib import Path

import pytest

from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import judged, masks_of, write

LONG = "t3 i5 t4 i12 t3"


def result(
    path: Path,
    reference: str,
    serving: str,
    *,
    transformers: str = "5.19.0",
    layout: str = LONG,
    declared: Declared | None = None,
    aside: Declared | None = None,
) -> CaseResult:
    prompt = Layout.parse(layout)
    theirs = write(path / "reference", prompt, masks_of(reference, prompt), side="reference", transformers=transformers)
    ours = write(path / "serving", prompt, masks_of(serving, prompt), side="serving")
    return judged(theirs, ours, prompt, declared, aside=aside)


@pytest.mark.parametrize(
    ("reference", "serving", "at_fault"),
    [
        ("clamp", "clamp", None),
        ("clamp", "drop", "serving"),
        ("everywhere", "clamp", "reference"),
        ("unclamped", "clamp", "reference"),
        ("everywhere", "drop", "both"),
        ("everywhere", "everywhere", None),
    ],
)
def test_the_side_at_fault(tmp_path: Path, reference: str, serving: str, at_fault: str | None) -> None:
    assert result(tmp_path, reference, serving).at_fault == at_fault


@pytest.mark.parametrize(
    ("reference", "serving", "declared"),
    [
        pytest.param("everywhere", "clamp", Declared("clamp", split=True), id="of images that no step split"),
        pytest.param("everywhere", "clamp", Declared("clamp"), id="of what is intended"),
        pytest.param("everywhere", "drop", Declared("drop"), id="of serving, which follows it"),
        pytest.param("unclamped", "drop", Declared("drop"), id="the same, with a reference that is wrong elsewhere"),
    ],
)
def test_what_is_declared_of_serving_excuses_no_reference(
    tmp_path: Path, reference: str, serving: str, declared: Declared
) -> None:
    found = result(tmp_path, reference, serving, declared=declared)
    assert found.verdict is Verdict.DIVERGED
    assert "declared: " not in found.diagnosis


def test_a_reference_and_serving_may_each_have_a_declaration_of_their_own(tmp_path: Path) -> None:
    of_reference = Declared("unclamped", reference="transformers")
    assert result(tmp_path, "unclamped", "drop", declared=Declared("drop"), aside=of_reference).verdict is Verdict.KNOWN


def test_a_reference_of_an_old_release_is_named_with_the_releases_that_mask_so(tmp_path: Path) -> None:
    found = result(tmp_path, "everywhere", "clamp", transformers="5.12.1")
    assert found.verdict is Verdict.DIVERGED
    assert "serving applies the intended `clamp`" in found.diagnosis
    assert "full layer 2: the reference follows `everywhere`, serving applies the intended `causal`" in found.diagnosis
    assert "from 5.9.0 until 5.13.0 (PR #46850)" in found.diagnosis
    assert "vLLM" not in found.diagnosis


def test_nothing_is_known_of_a_release_that_does_not_mask_so(tmp_path: Path) -> None:
    assert "known of transformers" not in result(tmp_path, "everywhere", "clamp", transformers="5.19.0").diagnosis
    assert "from 5.9.0" not in result(tmp_path, "unclamped", "clamp", transformers="5.8.1").diagnosis


def test_both_sides_are_named_where_neither_masks_as_intended(tmp_path: Path) -> None:
    found = result(tmp_path, "everywhere", "causal", transformers="5.12.1").diagnosis
    assert "the reference follows `unclamped`, the intended policy is `clamp`" in found
    assert "serving applies `causal`" in found


@pytest.mark.parametrize(("serving", "policy"), [("drop", "clamp, of audio too"), ("clamp", "clamp, of audio too")])
def test_audio_that_is_masked_as_an_image_is_named(tmp_path: Path, serving: str, policy: str) -> None:
    layout = Layout.parse("t3 a4 i3 t3")
    theirs = [mask & True for mask in masks_of("causal", Layout.parse("t3 a4 i3 t3"))]
    image = next(span for span in layout.spans if span.kind == "image")
    for mask in theirs[:2]:
        mask[:, image.start : image.end + 1, image.start : image.end + 1] = True
    reference = write(tmp_path / "reference", layout, theirs, side="reference")
    found = judged(reference, write(tmp_path / "serving", layout, masks_of(serving, layout), side="serving"), layout)
    assert found.layers[0].reference_policy == "clamp"
    assert found.layers[0].serving_policy == policy
    assert (found.layers[0].missing, found.layers[0].extra) == (0, 6)
    assert "every modality makes ranges" in found.diagnosis
    assert found.at_fault == "serving"
