"""A worker that dies costs the piece of work that it was at, whatever it died of."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from harness.errors import DriverFailure, EnvironmentFailure
from harness.verification.workers import Workers
from tests.drivers.processes import lives, within
from tests.verification import labour


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(2, nullcontext) as two:
        yield two


def test_each_item_is_handed_over_as_it_comes(workers: Workers) -> None:
    found: list[int] = []
    assert workers.submit(labour.counted, 4, found=found.append).result() == 3
    assert found == [0, 1, 2, 3]


@pytest.mark.parametrize("how", labour.SIGNALS)
def test_a_death_costs_one_piece_of_work(workers: Workers, how: int) -> None:
    found: list[str] = []
    lost = workers.submit(labour.die, how, found=found.append)
    others = [workers.submit(labour.counted, count) for count in range(1, 7)]
    with pytest.raises(DriverFailure, match=rf"the worker process died \(signal {signal.Signals(how).name}\)"):
        lost.result()
    assert found == ["begun"]
    assert [other.result() for other in others] == [0, 1, 2, 3, 4, 5]


def test_every_death_has_an_end_of_its_own(workers: Workers) -> None:
    for work in [workers.submit(labour.leave) for _ in range(4)]:
        with pytest.raises(DriverFailure, match="exit code 7"):
            work.result()
    assert workers.submit(labour.counted, 2).result() == 1


def test_a_worker_that_died_with_nothing_to_do_costs_nothing() -> None:
    with Workers(1, nullcontext) as one:
        first = one.submit(labour.pid).result()
        os.kill(first, signal.SIGKILL)
        assert one.submit(labour.pid).result() != first
        second = one.submit(labour.pid).result()
        os.kill(second, signal.SIGKILL)
        assert within(5, lambda: not lives(second))
        assert one.submit(labour.pid).result() != second


def test_what_the_work_raises_arrives_and_the_worker_goes_on(workers: Workers) -> None:
    with pytest.raises(DriverFailure, match="it died") as raised:
        workers.submit(labour.fail).result()
    assert (raised.value.stage, raised.value.log) == ("serving", "the end")
    with pytest.raises(RuntimeError, match="Unpicklable: one"):
        workers.submit(labour.fail_oddly).result()
    assert workers.submit(labour.counted, 1).result() == 0


def test_what_cannot_be_entered_is_said_of_each_piece_of_work() -> None:
    with Workers(1, labour.refused) as workers:
        for work in [workers.submit(labour.pid) for _ in range(2)]:
            with pytest.raises(EnvironmentFailure, match="no vllm here"):
                work.result()


def test_workers_leave_what_they_entered(tmp_path: Path) -> None:
    with Workers(2, labour.entered, tmp_path) as workers:
        pids = {workers.submit(labour.pid).result() for _ in range(4)}
        assert list(tmp_path.iterdir()) == []
    assert {int(path.name) for path in tmp_path.iterdir()} == pids
    assert not any(map(lives, pids))


def test_an_early_end_kills_them_at_work_and_begins_nothing_more(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError), Workers(2, nullcontext) as workers:  # noqa: PT012 - the body is what ends early
        for _ in range(5):
            workers.submit(labour.sleep, tmp_path)
        assert within(30, lambda: len(list(tmp_path.iterdir())) == 2)
        raise ZeroDivisionError
    assert time.monotonic() - start < 30
    assert len(list(tmp_path.iterdir())) == 2
    assert not any(lives(int(path.name)) for path in tmp_path.iterdir())
