"""Logits that are no numbers, and a noise floor that is no rounding, are never a PASS, and never serving's fault alone for both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.captures import write as writing
from harness.captures.read import Capture
from harness.compare.comparison import ROUNDING
from harness.compare.logits import compare
from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import judged, masks_of, write

TEXT = "t9"
NAN, INF = float("nan"), float("inf")


def changed(side: Capture, **logits: object) -> Capture:
    """The capture with values put into its logits: name=(position, value)."""
    tensors = {name: np.array(tensor) for name, tensor in side.tensors.items()}
    for name, (position, value) in logits.items():
        tensors[name.replace("_", ".")][position, 0] = value
    stacked = {name: torch.from_numpy(tensor)[None] for name, tensor in tensors.items()}
    writing.write(side.directory, stacked, side.facts, [side.prompt])
    return Capture(side.directory)


def result(folder: Path, reference: dict, serving: dict, policy: str = "clamp", error: float = 1e-5) -> CaseResult:
    layout = Layout.parse(TEXT if policy == "clamp" else "t3 i5 t4")
    theirs = write(folder / "reference", layout, masks_of("clamp", layout), side="reference", error=1e-5)
    ours = write(folder / "serving", layout, masks_of(policy, layout), side="serving", error=error)
    return judged(changed(theirs, **reference), changed(ours, **serving), layout)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_both_sides(tmp_path: Path, value: float) -> None:
    everywhere = {"logits": (3, value), "again_logits": (3, value), "truth_logits": (3, value)}
    found = result(tmp_path, everywhere, {"logits": (3, value)})
    assert found.verdict is Verdict.ERROR
    assert "the logits of both sides are not finite at position 3, which is no divergence of serving" in found.diagnosis
    assert "neither are those of the reference in a higher precision" in found.diagnosis
    assert found.layers and found.logits and found.error.message in found.diagnosis
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_precision_that_overflows_on_both_sides_is_named(tmp_path: Path) -> None:
    found = result(tmp_path, {"logits": (3, INF)}, {"logits": (3, INF)})
    assert found.verdict is Verdict.ERROR and "float32 overflows, a higher precision does not" in found.diagnosis


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_serving_alone(tmp_path: Path, value: float) -> None:
    found = result(tmp_path, {}, {"logits": (3, value)})
    assert found.verdict is Verdict.DIVERGED
    assert "serving's logits are not finite at position 3, the reference's are" in found.diagnosis


@pytest.mark.parametrize("name", ["logits", "truth_logits"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_the_reference_alone(tmp_path: Path, name: str, value: float) -> None:
    found = result(tmp_path, {name: (3, value)}, {})
    assert found.verdict is Verdict.ERROR
    assert "the reference's logits are not finite at position 3, serving's are" in found.diagnosis


def test_other_positions_are_judged_all_the_same(tmp_path: Path) -> None:
    found = result(tmp_path, {"logits": (3, NAN)}, {"logits": (3, NAN)}, error=1.0)
    assert found.verdict is Verdict.DIVERGED and found.logits.position_of_worst != 3


def test_other_masks_are_a_divergence_all_the_same(tmp_path: Path) -> None:
    everywhere = {"logits": (3, NAN), "truth_logits": (3, NAN)}
    assert result(tmp_path, everywhere, {"logits": (3, NAN)}, policy="causal").verdict is Verdict.DIVERGED


def test_logits_without_any_number_can_be_compared() -> None:
    nothing = np.full((4, 6), NAN)
    found = compare(nothing, [nothing], nothing, np.ones(4, dtype=bool), range(4))
    assert not found.within and found.not_finite == {"both": [0, 1, 2, 3]} and found.max_abs_diff == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_floor_as_large_as_the_logits_is_no_rounding(tmp_path: Path, seed: int) -> None:
    """Two models with other weights, as transformers draws those that a checkpoint lacks."""
    random = np.random.default_rng(seed)
    truth, reference, serving = (random.normal(0, 2, (9, 16)) for _ in range(3))
    found = compare(truth, [reference], serving, np.ones(9, dtype=bool), range(9))
    assert found.within and found.floor_share > ROUNDING


def test_such_a_floor_lets_nothing_pass(tmp_path: Path) -> None:
    layout = Layout.parse(TEXT)
    reference, serving = [
        write(tmp_path / side, layout, masks_of("clamp", layout), side=side, error=4.0)
        for side in ("reference", "serving")
    ]
    found = judged(reference, serving, layout)
    assert found.verdict is Verdict.ERROR and "the noise floor cannot be rounding" in found.diagnosis
