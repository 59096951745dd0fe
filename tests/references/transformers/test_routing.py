"""Ties of a router are decided the other way, and nothing but ties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.compare import logits
from harness.compare.setting import Setting
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.references.transformers.routing import _moved, otherwise
from harness.verification.session import Session

EXPERTS = 8


@given(seed=st.integers(0, 2**31), taken=st.integers(1, EXPERTS - 1), reach=st.floats(0, 2))
def test_the_last_expert_taken_and_the_next_change_places_where_they_tie(seed: int, taken: int, reach: float) -> None:
    scores = torch.randn(20, EXPERTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    after = otherwise(scores, taken, torch.tensor(reach))
    ranks, ranks_after = scores.argsort(-1, descending=True), after.argsort(-1, descending=True)
    for row in range(len(scores)):
        last, following = ranks[row, taken - 1 : taken + 1]
        expected = ranks[row].clone()
        if scores[row, last] - scores[row, following] <= reach:
            expected[[taken - 1, taken]] = expected[[taken, taken - 1]]
        assert torch.equal(ranks_after[row], expected)
    assert torch.equal(after.sort(-1).values, scores.sort(-1).values)


def test_what_counts_is_how_far_apart_rounding_moves_the_two() -> None:
    exact = torch.tensor([[5.0, 3.0, 1.0], [1.0, 5.0, 4.5]])
    assert _moved(exact, exact + 7, taken=1).tolist() == [0, 0]
    assert _moved(exact, exact + torch.tensor([0.25, -0.5, 9.0]), taken=1).tolist() == [0.75, 9.5]


@pytest.mark.engine
def test_in_bfloat16_a_mixture_of_experts_is_no_false_alarm(session: Session) -> None:
    spec, setting = preset("26b-a4b-small"), Setting.of(backend="cpu", runner="v1", dtype="bfloat16")
    ratios, ratios_without = [], []
    for seed, tokens in enumerate((12, 37, 60, 100)):
        (pair,) = session.observe(spec, setting, [prompt_for(Layout.parse(f"t{tokens}"), spec, seed)])
        theirs, ours = pair.reference.tensors, pair.serving.tensors["logits"]
        samples = [theirs[name] for name in ("logits", "again.logits")]
        given_to = (theirs["truth.logits"], samples, ours, pair.serving.observed, pair.reference.facts.logits_at)
        ratios.append(logits.compare(*given_to, theirs["routed.logits"]).ratio)
        ratios_without.append(logits.compare(*given_to).ratio)
    assert max(ratios) <= logits.FACTOR < max(ratios_without)
