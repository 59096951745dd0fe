"""Two captures are of one checkpoint, and serving holds its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.captures.read import Capture
from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import judged, masks_of, write

TEXT = "t3 i5 t4"
TABLE, NORM = "model.language_model.embed_tokens.weight", "model.language_model.norm.weight"
HELD = {TABLE: [64, 11], "lm_head.weight": [64, 11], NORM: [8, 5]}


def with_facts(capture: Capture, **facts: object) -> Capture:
    """The capture with further facts."""
    path = capture.directory / "capture.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    return Capture(capture.directory)


def result(folder: Path, theirs: dict, ours: dict, serving: str = "clamp") -> CaseResult:
    layout = Layout.parse(TEXT)
    sides = {"reference": ("clamp", theirs), "serving": (serving, ours)}
    reference, serving = [
        with_facts(write(folder / side, layout, masks_of(policy, layout), side=side), **facts)
        for side, (policy, facts) in sides.items()
    ]
    return judged(reference, serving, layout)


def loaded(weights: dict, checkpoint: str = "a" * 64) -> dict:
    return {"loaded": {"checkpoint": checkpoint, "weights": weights}}


def test_the_same_weights_are_not_mentioned(tmp_path: Path) -> None:
    found = result(tmp_path, loaded(HELD), loaded(HELD))
    assert found.verdict is Verdict.PASS and "weights" not in found.diagnosis and "tensors" not in found.diagnosis


@pytest.mark.parametrize("serving", ["clamp", "causal"])
@pytest.mark.parametrize("wrong", [[8, 6], [8, -1]], ids=["another value", "copies that differ"])
def test_another_weight_is_a_divergence_whatever_the_masks_are(tmp_path: Path, serving: str, wrong: list[int]) -> None:
    found = result(tmp_path, loaded(HELD), loaded({**HELD, NORM: wrong}), serving)
    assert found.verdict is Verdict.DIVERGED
    assert found.diagnosis.startswith(f"serving holds other weights than the checkpoint in 1 of 3 tensors: {NORM}")


@pytest.mark.parametrize("form", [[8, None], [4, 5]], ids=["quantized", "another size"])
def test_a_tensor_in_another_form_is_named_and_not_blamed(tmp_path: Path, form: list) -> None:
    found = result(tmp_path, loaded(HELD), loaded({**HELD, NORM: form}))
    assert (
        found.verdict is Verdict.PASS
        and f"1 tensors in another form, which were not compared: {NORM}" in found.diagnosis
    )


def test_a_tensor_that_is_not_found_is_named_and_a_tied_head_is_not(tmp_path: Path) -> None:
    found = result(tmp_path, loaded(HELD), loaded({TABLE: HELD[TABLE]}))
    assert (
        found.verdict is Verdict.PASS
        and f"1 tensors were not found in serving's model and not compared: {NORM}" in found.diagnosis
    )


def test_captures_of_two_checkpoints_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="made from a checkpoint with the content aaaaaaaaaaaaaaaa, serving from one with bbbb"
    ):
        result(tmp_path, loaded(HELD), loaded(HELD, "b" * 64))
