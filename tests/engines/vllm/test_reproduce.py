"""The command that reproduces a result gives its verdict and exit code again, for each kind of result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cases.catalogue import DECLARED
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.checkpoint import model
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.catalogue import load
from harness.verification.session import Session
from harness.verification.verify import verify, verify_batch
from tests.cli.command import harness
from tests.verification.reproducing import asked, words_of

pytestmark = pytest.mark.engine

V1, V2, CPU = Setting.of(runner="v1"), Setting.of(runner="v2"), Setting.of(backend="cpu")
LAYOUT = Case("run", "", "t3 i9 t4")
KINDS = {
    "equal": (LAYOUT, V1, Verdict.PASS),
    "known-policy": (LAYOUT, V2, Verdict.KNOWN),
    "known-of-another-back-end": (Case("run", "", "t3 i5 t4"), CPU, Verdict.KNOWN),
    "fixed": (LAYOUT, V2.with_(overlays=("guard-window-plus-one",)), Verdict.FIXED),
    "mutant": (Case("run", "", "i2"), V1.with_(overlays=("no-registration",)), Verdict.DIVERGED),
    "keys-that-do-not-exist": (Case("run", "", "t9"), V1.with_(overlays=("window-mask-plus-one",)), Verdict.DIVERGED),
    "refused": (LAYOUT, V1.with_(overlays=("flex-image-blocks",)), Verdict.ERROR),
    "seed-and-company": (
        Case("run", "", "t3 i5", seed=7),
        V1.with_(mates=("t5 seed=1",), mates_after=("i4",)),
        Verdict.PASS,
    ),
    "picture": (Case("picture", "", picture=(48, 16)), V1, Verdict.PASS),
    "window": (Case("run", "", "t3 i5 t4"), V2, Verdict.KNOWN),
}

ANOTHER_ENGINE = ("known-of-another-back-end", "window")
"""Kinds that no other kind's engine serves."""


def again(session: Session, result: CaseResult) -> CaseResult:
    """What the command of a result gives, on engines that run already."""
    found = asked(result.reproduce)
    assert found.sides["serving_python"] == session.serving_python
    return verify(session, found.case, found.setting, found.declared, spec=found.spec)


def masks(result: CaseResult) -> list[dict[str, str]]:
    return [layer.masks for layer in result.layers]


def assert_same(first: CaseResult, second: CaseResult) -> None:
    assert (first.verdict, first.diagnosis, masks(first)) == (second.verdict, second.diagnosis, masks(second))
    assert first.reproduce == second.reproduce


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in ANOTHER_ENGINE else kind for kind in KINDS]
)
def test_each_kind_of_result(session: Session, kind: str) -> None:
    case, setting, verdict = KINDS[kind]
    spec = preset("tiny").with_(window=3) if kind == "window" else None
    result = verify(session, case, setting, DECLARED, spec=spec)
    assert result.verdict is verdict, result.diagnosis
    assert_same(result, again(session, result))


def test_what_is_known_of_the_catalogue_diverges_where_no_declaration_was_asked_for(session: Session) -> None:
    result = verify(session, LAYOUT, V2)
    assert result.verdict is Verdict.DIVERGED and "--known" not in result.reproduce
    assert_same(result, again(session, result))


def test_what_a_catalogue_of_ones_own_declares(session: Session) -> None:
    result = verify(session, LAYOUT, V2, load("examples/my_cases").declared)
    assert result.verdict is Verdict.KNOWN and "--cases" in result.reproduce
    assert_same(result, again(session, result))


def test_each_member_of_a_batch(session: Session) -> None:
    layouts = [Layout.parse(text) for text in ("i2", "t1 i2", "t4")]
    wrong = V1.with_(overlays=("ranges-of-another-request",))
    results = verify_batch(session, layouts, wrong, preset("tiny"), DECLARED, "batch")
    assert results[0].verdict is Verdict.DIVERGED and masks(results[0]) != masks(results[1])
    for result in results:
        second = again(session, result)
        assert (result.verdict, masks(result)) == (second.verdict, masks(second))


def test_a_given_checkpoint_with_a_text_and_an_image(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "it's [one].png")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").symlink_to(session.checkpoint(preset("tiny")))
    spec = model("./mine")
    case = Case("run", "", images=("it's [one].png",), text="w40 <|image|> w41", model="./mine")
    result = verify(session, case, V1, spec=spec)
    assert result.verdict is Verdict.PASS, result.diagnosis
    monkeypatch.chdir("/")
    assert_same(result, again(session, result))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["known-policy", "mutant"])
def test_the_command_as_people_run_it(session: Session, kind: str) -> None:
    case, setting, verdict = KINDS[kind]
    result = verify(session, case, setting, DECLARED)
    done = harness(*words_of(result.reproduce)[1:])
    assert done.code == {Verdict.KNOWN: 0, Verdict.DIVERGED: 1}[verdict], done.err
    assert done.out.splitlines()[-1] == f"reproduce  {result.reproduce}"
