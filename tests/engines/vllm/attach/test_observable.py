"""A server whose observation would miss a part is refused in one line that says what to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.engines.vllm.attach.observable import unobservable

ALONE = {
    "data_parallel_size": 4,
    "data_parallel_size_local": 4,
    "local_engines_only": False,
    "pipeline_parallel_size": 2,
    "tensor_parallel_size": 4,
    "nnodes": 1,
}


def test_ranks_of_one_host_are_observed_together() -> None:
    assert unobservable(SimpleNamespace(**ALONE)) == ""


def test_a_host_that_speaks_to_its_own_engines_alone_is_observed_whatever_others_have() -> None:
    assert unobservable(SimpleNamespace(**{**ALONE, "data_parallel_size": 8, "local_engines_only": True})) == ""


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("data_parallel_size_local", "2 of its 4 data-parallel engines are on other hosts"),
        ("nnodes", "on 2 hosts"),
    ],
)
def test_what_would_be_seen_in_part_is_refused(field: str, said: str) -> None:
    why = unobservable(SimpleNamespace(**{**ALONE, field: 2}))
    assert said in why and "\n" not in why
