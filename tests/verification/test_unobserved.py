"""Which masks are laid over the reference where a case is KNOWN: those that serving was seen to have."""

from pathlib import Path
from typing import Any

import pytest

from harness.compare.known import Declared
from harness.compare.likely import of_all_rows
from harness.compare.setting import Setting
from harness.compare.surplus import Steps
from harness.compare.verdict import Verdict
from harness.errors import DriverFailure, FailureKind
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.prompt import Prompt
from harness.verification import unobserved
from harness.verification.session import Pair
from harness.verification.unobserved import tried
from harness.verification.verify import explained
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


def test_masks_that_could_not_be_laid_over_the_reference_excuse_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = write(tmp_path / "reference", LAYOUT, masks_of("clamp", LAYOUT), side="reference")
    ours = write(tmp_path / "serving", LAYOUT, masks_of("drop", LAYOUT), side="serving")
    result = judged(theirs, ours, LAYOUT, DROP)

    def without_room(*_: object) -> Pair:
        raise DriverFailure("CUDA out of memory", stage="reference", kind=FailureKind.MEMORY)

    monkeypatch.setattr(unobserved, "laid_over", without_room)
    session: Any = None
    asked = Case("long", "", str(LAYOUT)), LAYOUT, SPEC, Setting.of(runner="v1"), Prompt((2,), (0,), ())
    found = explained(session, *asked, Pair(theirs, ours, 0.0), [DROP], result)
    assert result.verdict is Verdict.KNOWN and found.verdict is Verdict.ERROR and found.declared is None
    assert "no policy could be tried: CUDA out of memory" in found.diagnosis and found.error is not None
