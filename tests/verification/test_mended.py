"""Logits that are declared to be off are known where a patch is seen to mend them, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.captures.read import Capture
from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import DriverFailure, FailureKind, UsageError
from harness.prompts.layout import Layout
from harness.verification.mended import Mended
from harness.verification.session import Pair
from tests.compare.captures import NOISE, judged, masks_of, write

LAYOUT = Layout.parse("t3 i12 t4")
OFF = Declared(
    logits=True,
    link="https://example.org/3",
    reason="a fault",
    runners=("auto",),
    mended_by=("pr-48421", "flex-image-blocks"),
)
REFUSED = DriverFailure("it does not fit", stage="serving", kind=FailureKind.REFUSED)


@pytest.mark.parametrize(
    ("patched", "expected", "said"),
    [
        pytest.param([NOISE], Verdict.KNOWN, "with `pr-48421` laid over they are within", id="mended"),
        pytest.param([1e-2, NOISE], Verdict.KNOWN, "with `flex-image-blocks` laid over", id="mended by the second"),
        pytest.param([1e-2, 2e-2], Verdict.DIVERGED, "with `pr-48421` laid over it is DIVERGED", id="another fault"),
        pytest.param([REFUSED, 1e-2], Verdict.DIVERGED, "could not be laid over: it does not fit", id="refused"),
        pytest.param([REFUSED, NOISE], Verdict.KNOWN, "with `flex-image-blocks` laid over", id="one refused"),
        pytest.param(
            [UsageError("overlay", "x", "none on a server that others use")] * 2,
            Verdict.DIVERGED,
            "none on a server that others use",
            id="attached",
        ),
    ],
)
def test_it_is_known_where_a_patch_mends_it(
    tmp_path: Path, patched: list[float | Exception], expected: Verdict, said: str
) -> None:
    reference = write(tmp_path / "reference", LAYOUT, masks_of("clamp", LAYOUT), side="reference")
    discarded: list[Path] = []

    def serving(name: str, error: float) -> Capture:
        return write(tmp_path / name, LAYOUT, masks_of("clamp", LAYOUT), side="serving", error=error)

    def serve(under: Setting) -> Sequence[Capture]:
        answer = patched[OFF.mended_by.index(under.overlays[-1])]
        if isinstance(answer, Exception):
            raise answer
        return [serving(under.overlays[-1], answer)] * 2

    def judge(place: int, under: Setting, pair: Pair) -> CaseResult:
        return judged(pair.reference, pair.serving, LAYOUT, off=None if under.overlays else OFF, setting=under)

    pairs = [Pair(reference, serving("off", 1e-2), 0.0), Pair(reference, serving("right", NOISE), 0.0)]
    before = [judge(place, Setting(), pair) for place, pair in enumerate(pairs)]
    assert [one.verdict for one in before] == [Verdict.KNOWN, Verdict.PASS]
    proof = Mended(
        Setting(), lambda pair: OFF, serve, judge, lambda every: discarded.extend(one.directory for one in every)
    )
    off, right = proof.shown(before, pairs)
    assert off.verdict is expected and said in off.diagnosis, off.diagnosis
    assert right == before[1]
    assert len(discarded) == 2 * sum(not isinstance(one, Exception) for one in patched)


def test_what_is_not_known_by_its_logits_is_not_served_again(tmp_path: Path) -> None:
    reference = write(tmp_path / "reference", LAYOUT, masks_of("clamp", LAYOUT), side="reference")
    ours = write(tmp_path / "serving", LAYOUT, masks_of("drop", LAYOUT), side="serving", error=1e-2)
    found = judged(reference, ours, LAYOUT, off=OFF)
    assert found.verdict is Verdict.DIVERGED

    def never(*given: object) -> Sequence[Capture]:
        raise AssertionError(given)

    proof = Mended(Setting(), lambda pair: OFF, never, never, never)
    assert proof.shown([found], [Pair(reference, ours, 0.0)]) == [found]
