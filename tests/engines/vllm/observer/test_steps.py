"""Which positions a step computes, as the scheduler plans it and as it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.engines.vllm import releases

Steps = dict[str, tuple[int, int]]


def scheduled(new: dict[str, int], cached: dict[str, int], tokens: dict[str, int]) -> SimpleNamespace:
    return SimpleNamespace(
        scheduled_new_reqs=[SimpleNamespace(req_id=one, num_computed_tokens=at) for one, at in new.items()],
        scheduled_cached_reqs=SimpleNamespace(req_ids=[*cached], num_computed_tokens=[*cached.values()]),
        num_scheduled_tokens=tokens,
    )


class Runner:
    def execute_model(self, scheduled: Any) -> str:
        self.ran = True
        return "launched"


@pytest.mark.parametrize(
    ("step", "planned"),
    [
        (scheduled({"a": 0}, {"b": 7}, {"a": 5, "b": 1}), {"a": (0, 5), "b": (7, 8)}),
        (scheduled({}, {}, {}), {}),
        (scheduled({}, {}, {"_dummy_req_0": 1}), {}),
    ],
    ids=["two requests", "nothing", "another data-parallel engine works"],
)
def test_a_step_is_told_before_it_runs_and_when_it_is_launched(step: SimpleNamespace, planned: Steps) -> None:
    runner, told = Runner(), []
    releases.watch_steps(
        runner, lambda steps, new: told.append((steps, sorted(new))), lambda steps: told.append((steps, runner.ran))
    )
    assert runner.execute_model(step) == "launched"
    assert told == [(planned, [one.req_id for one in step.scheduled_new_reqs]), (planned, True)]


def runner_of(*, ahead: bool, drafts: bool, computed: list[int]) -> SimpleNamespace:
    """A V1 runner, whose buffer has room for more requests."""
    config = SimpleNamespace(
        scheduler_config=SimpleNamespace(async_scheduling=ahead),
        speculative_config={"method": "mtp"} if drafts else None,
    )
    return SimpleNamespace(vllm_config=config, num_computed_tokens=torch.tensor([*computed, 0, 0]))


@pytest.mark.parametrize(
    ("ahead", "drafts", "found"),
    [
        (True, True, {"a": (8, 11), "b": (0, 4)}),
        (True, False, {"a": (10, 13), "b": (0, 4)}),
        (False, True, {"a": (10, 13), "b": (0, 4)}),
    ],
)
def test_drafts_that_were_thrown_away_are_known_to_the_runner_alone(ahead: bool, drafts: bool, found: Steps) -> None:
    runner = runner_of(ahead=ahead, drafts=drafts, computed=[0, 8])
    assert releases.computed(runner, ["b", "a"], {"a": (10, 13), "b": (0, 4)}) == found
