"""Bisecting finds every change of what points show, whatever is skipped, and looks at few of them."""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaigns.bisect import Changed, Criterion, Layers, Shown, changes_of, policies
from harness.compare.setting import Setting
from harness.verification.environments.line import ReleaseLine
from tests.report.results import failed, result


def line_of(count: int) -> ReleaseLine:
    return ReleaseLine("serving", tuple(str(index) for index in range(count)))


@dataclass
class Looks:
    """What each point shows; None gives no answer."""

    shows: list[str | None]
    count: int = 0

    def __call__(self, point: str) -> Shown:
        self.count += 1
        shows = self.shows[int(point)]
        return Shown(point, shows, "PASS" if shows else "ERROR", "" if shows else "no operator", "harness run")


def changes(shows: list[str | None], known: dict[str, Shown] | None = None) -> tuple[list[Changed], int]:
    looks = Looks(shows)
    found = [one for one in changes_of(line_of(len(shows)), looks, known or {}) if isinstance(one, Changed)]
    return found, looks.count


RUNS = st.lists(st.integers(1, 40), min_size=1, max_size=4)


@given(RUNS)
def test_every_change_of_a_line_is_found(runs: list[int]) -> None:
    shows = [f"policy {number}" for number, run in enumerate(runs) for _ in range(run)]
    shows.append(shows[-1])
    found, looks = changes(shows)
    starts = [sum(runs[: index + 1]) for index in range(len(runs) - 1)]
    assert [int(change.first) for change in found] == starts
    assert [int(change.last) for change in found] == [start - 1 for start in starts]
    assert looks <= 2 + len(starts) * (1 + math.ceil(math.log2(len(shows))))


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_a_skipped_point_is_named_where_it_may_be_the_first(before: int, after: int, data: st.DataObject) -> None:
    shows: list[str | None] = ["drop"] * before + ["clamp"] * after
    lost = data.draw(st.sets(st.integers(1, len(shows) - 2))) if len(shows) > 2 else set()
    for index in lost:
        shows[index] = None
    found, _ = changes(shows)
    (change,) = found
    answered = [index for index in range(len(shows)) if index not in lost]
    last = max(index for index in answered if index < before)
    first = min(index for index in answered if index >= before)
    assert (int(change.last), int(change.first)) == (last, first)
    assert sorted(map(int, change.skipped)) == list(range(last + 1, first))
    assert (change.before, change.after) == ("drop", "clamp")


@given(st.integers(1, 39), st.integers(40, 50), st.integers(10, 40))
def test_a_run_of_points_without_an_answer_is_left_behind_after_few(change: int, first: int, lost: int) -> None:
    shows: list[str | None] = ["drop"] * change + ["clamp"] * (99 - change)
    shows[first : first + lost] = [None] * lost
    found, looks = changes(shows)
    assert [int(one.first) for one in found] == [change] and looks <= 2 + 7 + 9


def test_what_was_seen_before_is_not_looked_at_again() -> None:
    shows: list[str | None] = ["drop"] * 20 + ["clamp"] * 20
    looks = Looks(shows)
    known = {one.point: one for one in changes_of(line_of(40), looks, {}) if isinstance(one, Shown)}
    found, again = changes(shows, known)
    assert found[0].first == "20"
    assert again == 0


@pytest.mark.parametrize("end", [0, 5])
def test_an_end_without_an_answer_ends_it(end: int) -> None:
    shows: list[str | None] = ["drop"] * 3 + ["clamp"] * 3
    shows[end] = None
    assert changes(shows)[0] == []


def test_ends_that_show_the_same_are_two_looks() -> None:
    assert changes(["clamp"] * 9) == ([], 2)


def test_what_a_point_shows_is_its_own_sides_policies_or_the_verdict() -> None:
    found = result(policy="drop", reference="everywhere", setting=Setting.of(runner="v1"))
    assert policies(found, "serving", Layers.sliding) == "sliding drop"
    assert policies(found, "reference", Layers.all) == "sliding unclamped, full everywhere"
    assert Shown.of("x", found, "serving", Criterion.verdict, Layers.all, 1.0).shows == "DIVERGED"
    auto = replace(found, setting={**found.setting, "runner": "auto", "engine runner": "v2"})
    assert policies(auto, "serving", Layers.full) == "full causal, served by v2"
    assert Shown.of("x", failed(message="no operator"), "serving", Criterion.policy, Layers.all, 1.0).shows is None
