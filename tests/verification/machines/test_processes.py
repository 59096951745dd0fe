"""Cells in processes of this machine: what is told of each, whatever becomes of its process."""

from __future__ import annotations

import signal
import time
from contextlib import closing, nullcontext
from itertools import groupby
from pathlib import Path

from harness.errors import DriverFailure, EnvironmentFailure
from harness.verification.machines import Cell, Found, Over, Processes
from tests.drivers.processes import lives, within
from tests.verification import labour


def test_items_come_in_order_and_each_cell_is_over_once() -> None:
    cells = [Cell(str(count), labour.counted, (count,)) for count in range(5)]
    told = list(Processes(2).run(cells, nullcontext))
    for cell in cells:
        of = [one for one in told if one.cell is cell]
        assert [one.item for one in of[:-1]] == list(range(int(cell.name)))
        assert isinstance(of[-1], Over) and of[-1].failure is None
    assert all(one.where == "" for one in told)


def test_a_death_costs_its_cell_and_what_was_found_stays() -> None:
    dies = Cell("dies", labour.die, (signal.SIGKILL,))
    others = [Cell(str(count), labour.counted, (count,)) for count in range(1, 5)]
    told = list(Processes(2).run([dies, *others], nullcontext))
    assert [one.item for one in told if one.cell is dies and isinstance(one, Found)] == ["begun"]
    failures = {one.cell.name: one.failure for one in told if isinstance(one, Over) and one.failure}
    assert failures.keys() == {"dies"} and isinstance(failures["dies"], DriverFailure)
    assert sum(isinstance(one, Over) for one in told) == 5


def test_what_is_raised_is_told_of_its_cell() -> None:
    (over,) = Processes(1).run([Cell("fails", labour.fail, ())], nullcontext)
    assert isinstance(over, Over) and "it died" in str(over.failure)
    (over,) = Processes(1).run([Cell("none", labour.pid, ())], labour.refused)
    assert isinstance(over.failure, EnvironmentFailure)


def test_a_worker_that_has_left_an_engine_does_not_come_back_to_it() -> None:
    cells = [Cell(f"{engine}{turn}", labour.busy, (0.1,), engine) for turn in range(4) for engine in "ab"]
    found = [one for one in Processes(2).run(cells, nullcontext) if isinstance(one, Found)]
    for pid in {one.item for one in found}:
        engines = [one.cell.engine for one in found if one.item == pid]
        assert len([*groupby(engines)]) == len(set(engines))


def test_an_early_end_kills_them_at_work(tmp_path: Path) -> None:
    start = time.monotonic()
    cells = [Cell("counts", labour.counted, (1,)), *[Cell("sleeps", labour.sleep, (tmp_path,))] * 4]
    with closing(Processes(2).run(cells, nullcontext)) as told:
        next(told)
        assert within(30, lambda: len(list(tmp_path.iterdir())) == 2)
    assert time.monotonic() - start < 30
    assert len(list(tmp_path.iterdir())) == 2
    assert not any(lives(int(path.name)) for path in tmp_path.iterdir())


def test_nothing_is_started_for_nothing() -> None:
    assert list(Processes(2).run([], labour.refused)) == []
