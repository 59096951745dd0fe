"""Given tokens take the place of sampled ones, of the right request at the right position."""

from types import SimpleNamespace

import pytest
import torch

from harness.engines.vllm.observer.sampling import (
    Continuation,
    accepted,
    around_drafts,
    around_drafts_of_v2,
    around_sampler,
    force,
)

GIVEN = {"a": Continuation(4, [40, 41]), "b": Continuation(9, [90])}


def forced(names: list[str | None], positions: list[int | None]) -> list[int]:
    sampled = torch.full((len(names), 1), 7)
    force(sampled, names, positions, GIVEN)
    return sampled[:, 0].tolist()


def test_each_request_goes_on_with_its_own_token_of_the_position() -> None:
    assert forced(["b", None, "a"], [9, 9, 5]) == [90, 7, 41]


def test_what_is_sampled_within_the_prompt_or_behind_the_last_step_stays() -> None:
    assert forced(["a", "a", "a", "b"], [3, 6, None, 10]) == [7, 7, 7, 7]


@pytest.mark.parametrize(
    ("drafts", "end", "taken", "counted"),
    [
        ([], 4, [40], (0, 0)),
        ([40, 41], 6, [40, 41, 7], (2, 2)),
        ([40, 5], 6, [40, 41], (2, 1)),
        ([5, 41], 6, [40], (2, 0)),
        ([41, 6], 7, [41, 7], (1, 1)),
        ([5, 6], 3, [7, 7, 7], (0, 0)),
        ([5], 9, [7, 7, 7], (0, 0)),
    ],
    ids=["none", "all", "one", "not the first", "behind the last", "in the prompt", "behind all"],
)
def test_a_request_accepts_the_drafts_that_it_is_given_and_goes_on_behind_them(
    drafts: list[int], end: int, taken: list[int], counted: tuple[int, int]
) -> None:
    tokens = torch.full((3,), 7)
    assert accepted(tokens, drafts, end, GIVEN["a"]) == counted
    assert tokens.tolist() == taken + [-1] * (3 - len(taken))


def unseen(logits: torch.Tensor) -> None:
    raise AssertionError("the sampler is asked, which a V1 runner calls by itself")


class Rejection:
    def __call__(self, metadata: SimpleNamespace, logits: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(sampled_token_ids=torch.full((len(metadata.num_draft_tokens), 3), -1))


def test_drafts_are_told_by_request() -> None:
    seen: list[list[list[int]]] = []
    runner = SimpleNamespace(rejection_sampler=Rejection())

    def after(drafts: list[list[int]], tokens: torch.Tensor) -> None:
        seen.append(drafts)
        tokens[1] = 5

    around_drafts(runner, unseen, after)
    metadata = SimpleNamespace(draft_token_ids=torch.tensor([1, 2, 3]), num_draft_tokens=[2, 0, 1])
    answer = runner.rejection_sampler(metadata, torch.zeros(6, 9))
    assert seen == [[[1, 2], [], [3]]]
    assert answer.sampled_token_ids.tolist() == [[-1] * 3, [5] * 3, [-1] * 3]


class CountingRejection:
    """As V2's: which tokens count is said beside them, and the others are whatever they are."""

    def __call__(self, logits: torch.Tensor, batch: SimpleNamespace, draft_logits: None = None) -> SimpleNamespace:
        tokens = torch.tensor([[7, 77, 88], [7, 8, 9], [55, 66, 77]])
        return SimpleNamespace(
            sampled_token_ids=tokens, num_sampled=torch.tensor([1, 3, 0]), num_rejected=torch.tensor([2, 0, 0])
        )


def test_drafts_of_a_runner_that_counts_them_are_told_and_counted_again() -> None:
    seen: list[tuple[list[list[int]], list[list[int]]]] = []
    runner = SimpleNamespace(rejection_sampler=CountingRejection())

    def after(drafts: list[list[int]], tokens: torch.Tensor) -> None:
        seen.append((drafts, tokens.tolist()))
        tokens[0] = torch.tensor([1, 2, 3])
        tokens[1] = torch.tensor([4, -1, -1])
        tokens[2, 0] = 5

    sampled_from: list[list[float]] = []
    around_drafts_of_v2(runner, lambda logits: sampled_from.append(logits[:, 0].tolist()), after)
    batch = SimpleNamespace(
        input_ids=torch.tensor([50, 10, 11, 99, 60, 20, 21, 70]),
        logits_indices=torch.tensor([0, 1, 2, 4, 5, 6, 7]),
        cu_num_logits=torch.tensor([0, 3, 6, 7]),
    )
    answer = runner.rejection_sampler(torch.arange(7.0)[:, None].expand(7, 9), batch, None)
    assert sampled_from == [[2, 5, 6]], "the last row of each request"
    assert seen == [([[10, 11], [20, 21], []], [[7, -1, -1], [7, 8, 9], [-1, -1, -1]])]
    assert isinstance(runner.rejection_sampler, CountingRejection)
    assert answer.sampled_token_ids.tolist() == [[1, 2, 3], [4, -1, -1], [-1, -1, -1]]
    assert (answer.num_sampled.tolist(), answer.num_rejected.tolist()) == ([3, 1, 0], [0, 2, 0]), (
        "a request whose prompt goes on in the next step samples nothing, whatever it is given"
    )


class Sampler:
    def __call__(self, logits: torch.Tensor) -> SimpleNamespace:
        tokens = logits.argmax(-1, keepdim=True)
        logits.zero_()
        return SimpleNamespace(sampled_token_ids=tokens)


def test_a_sampler_stays_what_it_is_and_its_logits_are_seen_as_they_were() -> None:
    seen: list[torch.Tensor] = []
    runner = SimpleNamespace(sampler=Sampler())
    around_sampler(runner, lambda logits: seen.append(logits.clone()), lambda tokens: tokens.fill_(3))
    answer = runner.sampler(logits=torch.tensor([[1.0, 2.0]]))
    assert isinstance(runner.sampler, Sampler) and answer.sampled_token_ids.tolist() == [[3]]
    assert seen[0].tolist() == [[1.0, 2.0]]


def test_a_rank_without_a_sampler_is_left_alone() -> None:
    around_sampler(SimpleNamespace(sampler=None), print, print)
    around_drafts(SimpleNamespace(), print, print)
    around_drafts_of_v2(SimpleNamespace(), print, print)
