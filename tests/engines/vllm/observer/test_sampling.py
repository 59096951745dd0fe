"""Given tokens take the place of sampled ones, of the right request at the right position."""

from types import SimpleNamespace

import torch

from harness.engines.vllm.observer.sampling import Continuation, around_sampler, force

GIVEN = {"a": Continuation(4, [40, 41]), "b": Continuation(9, [90])}


def forced(names: list[str | None], positions: list[int | None]) -> list[int]:
    sampled = torch.full((len(names), 1), 7)
    force(sampled, names, positions, GIVEN)
    return sampled[:, 0].tolist()


def test_each_request_goes_on_with_its_own_token_of_the_position() -> None:
    assert forced(["b", None, "a"], [9, 9, 5]) == [90, 7, 41]


def test_what_is_sampled_within_the_prompt_or_behind_the_last_step_stays() -> None:
    assert forced(["a", "a", "a", "b"], [3, 6, None, 10]) == [7, 7, 7, 7]


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
