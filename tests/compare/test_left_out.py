"""A layer that computed some rows alone, by the engine's own option, is judged by those, and it is said that the others were not
run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import judged, masks_of, write

LAYOUT = Layout.parse("t3 i5 t4")
LAST = len(LAYOUT) - 1
RUN = (5, LAST)
"""The last rows of two steps."""


def compared(
    tmp_path: Path,
    *,
    wrong_at: int | None = None,
    error: float = 1e-5,
    at: tuple[int, ...] = (),
    ran: tuple[int, ...] = RUN,
) -> CaseResult:
    """The verdict where the last layer, a full one, ``ran`` at these rows alone, and attends one key less at a position. Logits
    are asked for ``at`` some positions, or all."""
    masks = masks_of("clamp", LAYOUT)
    reference = write(tmp_path / "r", LAYOUT, masks, side="reference", at=at)
    ours = [mask.copy() for mask in masks]
    if wrong_at is not None:
        ours[-1][:, wrong_at, 0] = False
    steps = [[0, 5], [6, LAST]]
    serving = write(tmp_path / "s", LAYOUT, ours, side="serving", ran=ran, error=error, steps=steps, at=at)
    return judged(reference, serving, LAYOUT)


def test_the_rows_that_were_run_are_compared_and_the_others_are_said_not_to_be(tmp_path: Path) -> None:
    found = compared(tmp_path)
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert "every layer's mask is equal where it was run" in found.diagnosis
    assert f"layers 2, which share keys, computed 2 of {len(LAYOUT)} positions" in found.diagnosis
    assert [layer.serving_policy for layer in found.layers] == ["clamp", "clamp", "causal"]
    assert found.layers[2].reference_pairs == found.layers[2].serving_pairs == 6 + len(LAYOUT)
    assert [error > 0 for error in found.logits.by_position["max_abs_diff"]] == [at in RUN for at in range(LAST + 1)]


def test_as_many_rows_are_said_to_be_run_wherever_logits_are_asked_for(tmp_path: Path) -> None:
    found = compared(tmp_path, at=(LAST,))
    assert found.verdict is Verdict.PASS, found.diagnosis
    assert f"layers 2, which share keys, computed 2 of {len(LAYOUT)} positions" in found.diagnosis


def test_nothing_is_said_to_be_left_out_where_every_row_was_run(tmp_path: Path) -> None:
    found = compared(tmp_path, at=(LAST,), ran=tuple(range(len(LAYOUT))))
    assert found.verdict is Verdict.PASS and "share keys" not in found.diagnosis
    assert "where it was run" not in found.diagnosis


@pytest.mark.parametrize("position", RUN)
def test_a_row_that_was_run_and_is_wrong_is_a_divergence(tmp_path: Path, position: int) -> None:
    found = compared(tmp_path, wrong_at=position)
    assert found.verdict is Verdict.DIVERGED and found.first_diverging_layer == 2
    assert (found.layers[2].missing, found.layers[2].first_difference["query"]) == (1, position)
    assert found.at_fault == "serving"


def test_so_are_logits_that_were_sampled_from(tmp_path: Path) -> None:
    assert compared(tmp_path, error=1e-2).verdict is Verdict.DIVERGED
