"""Which masks are laid over the reference where a case is KNOWN: those that serving was seen to have."""

from pathlib import Path

from harness.compare.known import Declared
from harness.compare.likely import of_all_rows
from harness.compare.surplus import Steps
from harness.compare.verdict import Verdict
from harness.prompts.layout import Layout
from harness.verification.session import Pair
from harness.verification.unobserved import tried
from tests.compare.captures import SPEC, judged, masks_of, write

LAYOUT = Layout.parse("t3 i12 t2")
DROP = Declared(policy="drop", link="https://example.org/serving", reason="long images are causal")
ASIDE = Declared(policy="unclamped", reference="transformers", link="https://example.org/reference", reason="no window")


def laid(
    folder: Path,
    serving: str,
    reference: str,
    declared: Declared,
    aside: Declared | None = None,
    steps: list[list[int]] | None = None,
) -> list | None:
    """What is to be laid over the reference where two sides follow these policies, serving as far as each of its ``steps`` can see,
    and either declaration may be meant."""
    theirs = write(folder / "reference", LAYOUT, masks_of(reference, LAYOUT), side="reference")
    visible = Steps(steps or [], len(LAYOUT)).visible if steps else True
    masks = [mask & visible for mask in masks_of(serving, LAYOUT)]
    ours = write(folder / "serving", LAYOUT, masks, side="serving", steps=steps)
    result = judged(theirs, ours, LAYOUT, declared, aside=aside)
    assert result.verdict is Verdict.KNOWN
    return tried(Pair(theirs, ours, 0.0), LAYOUT, SPEC, result, declared)


def test_masks_that_are_declared_of_serving_are_laid_over_the_reference(tmp_path: Path) -> None:
    assert laid(tmp_path, "drop", "clamp", DROP) == [of_all_rows(LAYOUT, ("drop", "causal"))]


def test_where_the_reference_is_known_to_be_wrong_it_is_what_is_intended(tmp_path: Path) -> None:
    assert laid(tmp_path, "clamp", "unclamped", DROP, ASIDE) == [of_all_rows(LAYOUT, ("clamp", "causal"))]


def test_images_that_are_split_are_laid_over_it_up_to_the_end_of_each_step(tmp_path: Path) -> None:
    split = Declared("clamp", "https://example.org/split", "images are split", split=True)
    (found,) = laid(tmp_path, "clamp", "clamp", split, steps=[[0, 9], [10, 18]]) or ()
    assert found == of_all_rows(LAYOUT, ("clamp", "causal"), [9] * 10 + [18] * 9)
