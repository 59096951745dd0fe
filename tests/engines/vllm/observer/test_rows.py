"""Whose rows a step computes: a few lines of bookkeeping on which every observed mask depends."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.engines.vllm.observer.rows import Batch


def of(batch: Batch) -> list[tuple[str, int, list[int], list[int]]]:
    return [(rows.name, rows.place, rows.index.tolist(), rows.positions.tolist()) for rows in batch.requests]


def test_rows_of_requests_that_are_not_observed_are_left_out() -> None:
    positions = torch.tensor([0, 1, 0, 1, 2, 5])
    batch = Batch.of(["a", None, "b"], [0, 2, 5, 6], positions, {"a": 2, "b": 9})
    assert of(batch) == [("a", 0, [0, 1], [0, 1]), ("b", 2, [5], [5])]
    assert batch.index.tolist() == [0, 1, 5]


def test_a_request_is_observed_up_to_its_last_token() -> None:
    batch = Batch.of(["a", "b"], [0, 1, 2], torch.tensor([4, 7]), {"a": 4, "b": 8})
    assert of(batch) == [("b", 1, [1], [7])]


def test_padding_behind_the_last_request_belongs_to_nobody() -> None:
    batch = Batch.of(["a"], [0, 2], torch.tensor([0, 1, 0, 0]), {"a": 2})
    assert batch.index.tolist() == [0, 1] and batch.whole({"a": 2}) and not batch.whole({"a": 3})


def test_a_step_without_observed_requests_has_no_rows() -> None:
    batch = Batch.of([None], [0, 3], torch.arange(3), {})
    assert not len(batch) and batch.index.tolist() == [] and batch.at({}).index.tolist() == []


def test_rows_are_chosen_by_request_and_by_position() -> None:
    batch = Batch.of(["a", "b"], [0, 3, 5], torch.tensor([0, 1, 2, 3, 4]), {"a": 3, "b": 5})
    assert batch.only({"a", "b"}) is batch
    assert of(batch.only({"b"})) == [("b", 1, [3, 4], [3, 4])]
    assert of(batch.at({"a": torch.tensor([2]), "b": torch.tensor([0])})) == [("a", 0, [2], [2])]


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), chunk=st.integers(1, 7))
def test_chunks_give_each_position_of_each_request_once(lengths: list[int], chunk: int) -> None:
    tokens = {f"case1x{index}": length for index, length in enumerate(lengths)}
    seen: dict[str, list[int]] = {name: [] for name in tokens}
    for start in range(0, max(lengths), chunk):
        parts = {name: list(range(start, min(start + chunk, length))) for name, length in tokens.items()}
        names = [name for name, part in parts.items() if part]
        bounds = [0]
        for name in names:
            bounds.append(bounds[-1] + len(parts[name]))
        batch = Batch.of(names, bounds, torch.tensor([p for name in names for p in parts[name]]), tokens)
        assert batch.index.tolist() == list(range(bounds[-1]))
        for rows in batch.requests:
            seen[rows.name] += rows.positions.tolist()
    assert seen == {name: list(range(length)) for name, length in tokens.items()}
