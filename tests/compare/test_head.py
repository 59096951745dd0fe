"""What is done to logits after the model is told apart from what the model computes, and has sentences of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from tests.compare.captures import NOISE, VOCABULARY, judged, masks_of, write
from tests.compare.test_loaded import result, with_facts


def after(suppressed: list[int] = (), changed: list[int] = (), others: list[str] = ()) -> dict:
    return {"after": {"suppressed": list(suppressed), "changed": list(changed), "others": list(others)}}


def test_tokens_that_both_sides_suppress_are_a_note(tmp_path: Path) -> None:
    found = result(tmp_path, after([40, 41]), after([40, 41]))
    assert found.verdict is Verdict.PASS
    assert "both sides suppress tokens 40, 41 (suppress_tokens of generation_config.json)" in found.diagnosis


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (after(), after([40]), "serving suppresses token 40, which suppress_tokens of generation_config.json"),
        (after([40, 41]), after([40]), "serving does not suppress token 41, which suppress_tokens"),
        (after(), after(changed=range(12)), "serving changes the logits of tokens 0, 1, 2, 3, 4, 5, 6, 7 and 4 more"),
    ],
)
def test_what_one_side_does_is_a_divergence(tmp_path: Path, theirs: dict, ours: dict, said: str) -> None:
    found = result(tmp_path, theirs, ours)
    assert found.verdict is Verdict.DIVERGED and said in found.diagnosis
    assert "the logits are within the noise floor" in found.diagnosis


def test_processors_that_depend_on_what_was_generated_are_named(tmp_path: Path) -> None:
    found = result(tmp_path, after(others=["bad_words_ids"]), after())
    assert found.verdict is Verdict.PASS and "also sets bad_words_ids, which was not compared" in found.diagnosis


@pytest.mark.parametrize(("error", "verdict"), [(NOISE, Verdict.PASS), (1.0, Verdict.DIVERGED)])
def test_a_setting_of_the_head_that_differs_is_the_cause_where_logits_do(
    tmp_path: Path, error: float, verdict: Verdict
) -> None:
    layout = Layout.parse("t9")
    caps = {"reference": 30.0, "serving": 20.0}
    reference, serving = [
        with_facts(
            write(
                tmp_path / side,
                layout,
                masks_of("clamp", layout),
                side=side,
                error=error if side == "serving" else NOISE,
            ),
            head={"soft_cap": cap, "scale": 1.0, "vocabulary": VOCABULARY},
        )
        for side, cap in caps.items()
    ]
    found = judged(reference, serving, layout)
    assert found.verdict is verdict
    assert ("the soft cap of serving's logits is 20.0, the reference's 30.0" in found.diagnosis) == (
        verdict is Verdict.DIVERGED
    )
