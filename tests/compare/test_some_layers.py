"""A layer of another rank of a pipeline may have been observed at fewer positions than the others: it is judged by those, and it is
said."""

from __future__ import annotations

from pathlib import Path

from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import judged, masks_of, write

LAYOUT = Layout.parse("t3 i5 t4")
UNSEEN = 4


def compared(tmp_path: Path, *wrong: tuple[int, int], error: float = 1e-5) -> CaseResult:
    """The verdict where nobody observed the last rows of layer 1, with a key too many in these layers at these rows."""
    masks = masks_of("clamp", LAYOUT)
    reference = write(tmp_path / "r", LAYOUT, masks, side="reference")
    ours = [mask.copy() for mask in masks]
    for layer, row in wrong:
        ours[layer][:, row, row + 1] = True
    serving = write(tmp_path / "s", LAYOUT, ours, side="serving", error=error, unseen_there=(1, UNSEEN))
    return judged(reference, serving, LAYOUT)


def test_what_was_observed_is_compared_and_it_is_said_where_that_is(tmp_path: Path) -> None:
    found = compared(tmp_path)
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert "every layer's mask is equal where it was observed" in found.diagnosis
    assert f"layers 1 were observed at {len(LAYOUT) - UNSEEN} of {len(LAYOUT)} positions" in found.diagnosis
    assert [layer.serving_policy for layer in found.layers] == ["clamp", "clamp", "causal"]


def test_a_fault_is_seen_where_its_own_layer_was_observed_and_nowhere_else(tmp_path: Path) -> None:
    last = len(LAYOUT) - 2
    assert compared(tmp_path / "its own", (1, 1)).verdict is Verdict.DIVERGED
    assert compared(tmp_path / "another", (0, last)).verdict is Verdict.DIVERGED
    assert compared(tmp_path / "unseen", (1, last)).verdict is Verdict.PASS
    off = compared(tmp_path / "by its logits", (1, last), error=1.0)
    assert off.verdict is Verdict.DIVERGED and "where it was observed, but the logits" in off.diagnosis
