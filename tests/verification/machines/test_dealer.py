"""A worker keeps the engine that it has as long as there are cells for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.verification.machines import Cell
from harness.verification.machines.dealer import Dealer


def cells(engines: str) -> list[Cell]:
    return [Cell(f"{engine}{index}", print, (), engine) for index, engine in enumerate(engines)]


def test_engines_stay_where_their_next_cells_are() -> None:
    dealer = Dealer(cells("aabbab"))
    dealt = [(worker, dealer.next(worker)) for worker in (1, 2, 1, 2, 1, 2)]
    assert [(worker, cell.name) for worker, cell in dealt] == [
        (1, "a0"), (2, "b2"), (1, "a1"), (2, "b3"), (1, "a4"), (2, "b5"),
    ]  # fmt: skip
    assert dealer.next(1) is None


def test_who_has_nothing_left_helps_where_most_waits() -> None:
    dealer = Dealer(cells("abbccccc"))
    assert [dealer.next(worker).name for worker in (1, 2, 3, 1)] == ["a0", "b1", "c3", "c4"]


def test_an_engine_that_is_gone_is_started_elsewhere_and_a_cell_that_is_back_comes_first() -> None:
    dealer = Dealer(cells("abab"))
    lost = dealer.next(1)
    dealer.next(2)
    dealer.gone(1)
    dealer.back(lost)
    assert dealer.next(3) is lost


@given(st.text("abc", max_size=30), st.integers(1, 5), st.randoms())
def test_every_cell_is_dealt_once(engines: str, workers: int, random) -> None:
    dealer = Dealer(cells(engines))
    given: list[str] = []
    while cell := dealer.next(random.randrange(workers)):
        given.append(cell.name)
        assert len(dealer) == len(engines) - len(given)
    assert sorted(given) == sorted(cell.name for cell in cells(engines))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_one_worker_starts_each_engine_once(engines: list[str]) -> None:
    dealer = Dealer(cells("".join(engines)))
    started: list = []
    while cell := dealer.next(0):
        if started[-1:] != [cell.engine]:
            started.append(cell.engine)
    assert len(started) == len(set(engines))
