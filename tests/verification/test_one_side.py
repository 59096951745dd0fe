"""One side at a time: all is served before the reference is loaded, and each failure is the answer to the turns that it hit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.messages import LoadEngine, LoadReference, RunEngine, RunReference
from harness.errors import FailureKind, UsageError
from harness.prompts.case import Case
from harness.verification import one_side, usage
from harness.verification.session import Session
from harness.verification.verify import verify_all
from tests.verification.fakes import SPEC, Fakes, failing

OFFLOADED = Setting.of(offload=True)
CASES = [(Case(name, "", layout), OFFLOADED) for name, layout in (("a", "t5"), ("b", "t3 i4 t2"), ("c", "t9"))]


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def session(fakes: Fakes, tmp_path: Path) -> Iterator[Session]:
    with Session(runs=fakes, cache=tmp_path) as session:
        yield session


def test_the_engine_has_ended_before_the_reference_is_loaded(session: Session, fakes: Fakes) -> None:
    order: list[str] = []
    told = session.told = order.append
    results = verify_all(session, CASES, (), lambda result: told(result.case), spec=SPEC)
    assert [result.verdict for result in results] == [Verdict.PASS] * 3
    assert order == ["serving a", "serving b", "serving c", "a", "b", "c"]
    (engine,) = fakes.of("serving")
    builder, reference = fakes.of("reference")
    assert engine.closed and builder.closed and not reference.closed
    assert [len(request.prompts) for request in fakes.asked(RunReference)] == [3]
    assert len(fakes.asked(LoadEngine)) == len(fakes.asked(LoadReference)) == 1
    assert all(request.model.offload for request in fakes.asked(LoadReference))


def test_what_is_long_is_not_held_at_once(session: Session, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_side, "TOGETHER", 18)
    verify_all(session, CASES, (), spec=SPEC)
    assert [len(request.prompts) for request in fakes.asked(RunReference)] == [2, 1]


def test_a_case_that_is_not_served_is_an_error_alone(session: Session, fakes: Fakes) -> None:
    fakes.faults["serving", RunEngine] = [None, failing(FailureKind.PROBE, "as planned")]
    results = verify_all(session, CASES, (), spec=SPEC)
    assert [result.verdict for result in results] == [Verdict.PASS, Verdict.ERROR, Verdict.PASS]
    assert [len(request.prompts) for request in fakes.asked(RunReference)] == [1, 1]


def test_a_prompt_that_the_reference_fails_on_is_an_error_alone(session: Session, fakes: Fakes) -> None:
    fakes.faults["reference", RunReference] = [failing(FailureKind.PROBE), None, failing(FailureKind.PROBE), None]
    results = verify_all(session, CASES, (), spec=SPEC)
    assert [result.verdict for result in results] == [Verdict.PASS, Verdict.ERROR, Verdict.PASS]


def test_a_reference_that_cannot_be_loaded_is_the_error_of_all(session: Session, fakes: Fakes) -> None:
    fakes.faults["reference", LoadReference] = [failing(FailureKind.CHECKPOINT)] * 4
    assert [one.verdict for one in verify_all(session, CASES, (), spec=SPEC)] == [Verdict.ERROR] * 3


@pytest.mark.parametrize(
    ("references", "said"),
    [(["transformers", "official"], "with one reference; 2 are given"), (["official"], "official is not")],
)
def test_references_that_are_not_run_so_are_refused(references: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        usage.check_offload(OFFLOADED, references)
    usage.check_offload(Setting(), references)


def test_both_sides_at_once_are_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="reference-offload"):
        session.begin(SPEC, OFFLOADED, [])
