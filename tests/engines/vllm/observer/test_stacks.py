"""What steps saw, put together over positions."""

import torch

from harness.engines.vllm.observer.stacks import SAMPLED, SCORES, Pieces

ALL = torch.arange(3)


def at(*positions: int) -> torch.Tensor:
    return torch.tensor(positions)


def computed(requests: int, since: int = 0) -> torch.Tensor:
    return (torch.arange(3) >= since).repeat(requests, 1)


def values(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None]


def test_the_steps_of_two_requests_become_one_stack() -> None:
    pieces = Pieces()
    pieces.keep("hidden.0", [("a", at(0, 1)), ("b", at(0))], values(10, 11, 20))
    pieces.keep("hidden.0", [("b", at(1, 2)), ("a", at(2))], values(21, 22, 12))
    pieces.keep("logits", [("a", ALL), ("b", ALL)], values(1, 2, 3, 4, 5, 6))
    tensors, missing = pieces.stacked(["b", "a"], computed(2), ALL, "hidden.0")
    assert tensors["hidden.0"][..., 0].tolist() == [[20, 21, 22], [10, 11, 12]]
    assert not missing and tensors["observed"].all()


def test_a_position_that_was_computed_twice_counts_as_it_was_last() -> None:
    pieces = Pieces()
    pieces.keep("hidden.0", [("a", at(0, 1, 2))], values(1, 2, 3))
    pieces.keep("hidden.0", [("a", at(1, 2))], values(8, 9))
    assert pieces.stacked(["a"], computed(1), ALL, "hidden.0")[0]["hidden.0"][0, :, 0].tolist() == [1, 8, 9]


def test_what_came_from_the_prefix_cache_is_0_and_not_observed() -> None:
    pieces = Pieces()
    pieces.keep("logits", [("a", at(2))], values(5))
    pieces.keep("mask.0", [("a", at(2))], torch.full((1, 2, 1), 7, dtype=torch.uint8))
    tensors, missing = pieces.stacked(["a"], computed(1, since=2), ALL, "mask.0")
    assert tensors["observed"].tolist() == [[0, 0, 1]] and not missing
    assert tensors["mask.0"].shape == (1, 2, 3, 1) and tensors["mask.0"][0, :, :, 0].tolist() == [[0, 0, 7]] * 2


def test_logits_are_of_their_own_positions() -> None:
    pieces = Pieces()
    pieces.keep("mask.0", [("a", ALL)], torch.ones(3, 1, 1, dtype=torch.uint8))
    pieces.keep("logits", [("a", at(2))], values(5))
    assert pieces.stacked(["a"], computed(1), at(2), "mask.0")[0]["logits"].tolist() == [[[5.0]]]


def test_what_a_step_did_not_see_is_named() -> None:
    pieces = Pieces()
    pieces.keep("mask.0", [("a", ALL)], torch.ones(3, 1, 1, dtype=torch.uint8))
    pieces.keep("logits", [("a", ALL)], values(1, 2, 3))
    pieces.keep("hidden.0", [("a", at(0, 1))], values(1, 2))
    assert pieces.stacked(["a"], computed(1), ALL, "mask.0")[1] == ["hidden.0"]
    assert pieces.stacked(["never"], computed(1), ALL, "mask.0")[1] == ["every layer's mask", "logits"]


def test_where_hooks_are_not_called_the_sampled_logits_are_enough() -> None:
    pieces = Pieces()
    pieces.keep("mask.0", [("a", at(0, 1))], torch.ones(2, 1, 1, dtype=torch.uint8))
    pieces.keep("logits", [("a", at(0, 1))], values(1, 2))
    for position, number in ((1, 8), (2, 9)):
        pieces.keep(SAMPLED, [("a", at(position))], values(number))
    tensors, missing = pieces.stacked(["a"], computed(1), ALL, "mask.0")
    assert not missing and tensors["logits"][0, :, 0].tolist() == [1, 2, 9]
    assert tensors["observed"].tolist() == [[1, 1, 0]] and tensors["computed"].tolist() == [[1, 1, 1]]


def test_without_masks_a_prompt_has_the_scores_of_the_sampler() -> None:
    pieces = Pieces()
    pieces.keep(SCORES, [("a", at(0, 1))], values(1, 2))
    pieces.keep(SAMPLED, [("a", at(2))], values(9))
    tensors, missing = pieces.stacked(["a"], computed(1), ALL, "mask.0", masks=False)
    assert not missing and tensors["logits"][0, :, 0].tolist() == [1, 2, 9] and "mask.0" not in tensors
    assert tensors["observed"].tolist() == [[0, 0, 0]] and tensors["computed"].tolist() == [[1, 1, 1]]
    assert pieces.stacked(["a"], computed(1), ALL, "mask.0")[1] == ["every layer's mask"]


def test_layers_may_leave_out_what_is_not_sampled_from_and_nothing_else() -> None:
    pieces, last = Pieces(), computed(1, since=2)
    pieces.keep("mask.0", [("a", ALL)], torch.ones(3, 1, 1, dtype=torch.uint8))
    pieces.keep("mask.1", [("a", at(2))], torch.ones(1, 1, 1, dtype=torch.uint8), in_part=True)
    pieces.keep("logits", [("a", at(2))], values(3), in_part=True)
    tensors, missing = pieces.stacked(["a"], computed(1), ALL, "mask.0", sampled=last)
    assert not missing and tensors["observed"].all()
    assert tensors["run.1"].tolist() == tensors["run.logits"].tolist() == [[0, 0, 1]] and "run.0" not in tensors
    assert tensors["logits"][0, :, 0].tolist() == [0, 0, 3]
    assert pieces.stacked(["a"], computed(1), ALL, "mask.1", sampled=last)[0]["observed"].all()
    assert pieces.stacked(["a"], computed(1), ALL, "mask.0")[1] == ["mask.1", "logits"]
    assert pieces.stacked(["a"], computed(1), ALL, "mask.0", sampled=computed(1, since=1))[1] == ["mask.1", "logits"]
