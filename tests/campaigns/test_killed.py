"""A driver that is killed costs the case that it was working on, and no other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.reference_pool import reference_model
from harness.verification.session import Session
from harness.verification.verify import verify
from tests.drivers.processes import in_group, within

pytestmark = pytest.mark.engine

V1 = Setting.of(runner="v1")
SHORT, LONG = Case("short", "", "t3 i5 t4"), Case("long", "", "t3 i40 t200 i40 t40")


@contextmanager
def killed_at_work(pid: int) -> Iterator[None]:
    """Kill a process as soon as it has computed for half a second."""
    before = worked(pid)

    def kill() -> bool:
        if busy := within(60, lambda: worked(pid) > before + 0.5):
            os.kill(pid, signal.SIGKILL)
        return busy

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        yield
        assert killing.result()


def worked(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_serving_process_that_is_killed_is_an_error_of_that_case_alone(session: Session) -> None:
    before = verify(session, SHORT, V1)
    assert before.verdict is Verdict.PASS
    engine = session.engine(preset("tiny"), V1)
    with killed_at_work(engine.process.pid):
        result = verify(session, LONG, V1)
    assert result.verdict is Verdict.ERROR
    assert result.error.stage == "serving"
    assert "the serving driver died (signal SIGKILL)" in result.diagnosis
    assert result.error.log
    assert "harness run --layout" in result.reproduce
    assert in_group(engine.process.pid) == []
    after = verify(session, SHORT, V1)
    assert after.verdict is Verdict.PASS
    assert after.logits == before.logits and after.layers == before.layers


@pytest.mark.slow
def test_a_reference_that_died_between_two_cases_is_started_anew(session: Session) -> None:
    before = verify(session, SHORT, V1)
    reference = session.references.ready(reference_model(session.checkpoint(preset("tiny")), V1), in_turn=False)
    os.kill(reference.process.pid, signal.SIGKILL)
    assert within(5, lambda: not reference.alive)
    session.forget_references()
    after = verify(session, SHORT, V1)
    assert after.verdict is Verdict.PASS
    assert after.logits == before.logits and after.layers == before.layers
