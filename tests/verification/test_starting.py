"""An engine starts while the reference is loaded: whichever fails is told, and nothing is left of the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.messages import LoadEngine, LoadReference, Request
from harness.errors import FailureKind
from harness.prompts.layout import Layout
from harness.verification.session import Session
from harness.verification.verify import verify_batch
from tests.verification.fakes import SPEC, FakeDriver, Fakes, failing

V1 = Setting.of(runner="v1")
SDPA = V1.with_(reference="sdpa")
"""The same engine, beside another reference."""


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def session(fakes: Fakes, tmp_path: Path) -> Iterator[Session]:
    with Session(runs=fakes, cache=tmp_path) as opened:
        yield opened


def one(session: Session, setting: Setting = V1) -> CaseResult:
    (result,) = verify_batch(session, [Layout.parse("t3")], setting, SPEC)
    return result


def test_it_was_asked_to_start_before_the_reference_was_there(fakes: Fakes, session: Session) -> None:
    waiting: list[list[Request]] = []

    def look(driver: FakeDriver, request: Request) -> None:
        waiting.append([sent.request for engine in fakes.of("serving") for sent in engine._waiting])

    fakes.faults["reference", LoadReference] = [look]
    assert one(session).verdict is Verdict.PASS
    assert [type(request) for request in waiting[0]] == [LoadEngine]


def test_a_reference_that_fails_ends_an_engine_that_is_starting(fakes: Fakes, session: Session) -> None:
    fakes.faults["reference", LoadReference] = [failing(FailureKind.CHECKPOINT)]
    failed = one(session)
    assert failed.error and (failed.error.stage, failed.error.kind) == ("reference", FailureKind.CHECKPOINT)
    assert [driver.closed for driver in fakes.of("serving")] == [True]
    assert one(session).verdict is Verdict.PASS
    assert [driver.closed for driver in fakes.of("serving")] == [True, False]


def test_a_reference_that_fails_leaves_an_engine_that_runs(fakes: Fakes, session: Session) -> None:
    assert one(session).verdict is Verdict.PASS
    fakes.faults["reference", LoadReference] = [failing(FailureKind.CHECKPOINT)]
    assert one(session, SDPA).verdict is Verdict.ERROR
    assert one(session, SDPA).verdict is Verdict.PASS
    assert [driver.closed for driver in fakes.of("serving")] == [False]


def test_an_engine_that_died_meanwhile_is_told_and_not_started_again(fakes: Fakes, session: Session) -> None:
    fakes.faults["reference", LoadReference] = [lambda driver, request: fakes.of("serving")[-1].kill()]
    failed = one(session)
    assert failed.error and (failed.error.stage, failed.error.kind) == ("serving", FailureKind.GONE)
    assert [driver.closed for driver in fakes.of("serving")] == [True]


def test_what_interrupts_the_loading_ends_the_start(fakes: Fakes, session: Session) -> None:
    def interrupted(driver: FakeDriver, request: Request) -> None:
        raise KeyboardInterrupt

    fakes.faults["reference", LoadReference] = [interrupted]
    with pytest.raises(KeyboardInterrupt):
        one(session)
    assert [driver.closed for driver in fakes.of("serving")] == [True]
