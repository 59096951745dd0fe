"""Which rank of a pipeline has which layer is known before an engine starts, as vLLM's own function has it."""

from __future__ import annotations

import pytest

from harness.engines.vllm import usage
from harness.engines.vllm.options import PARTITION, EngineOptions
from harness.errors import UsageError
from harness.families.registry import preset

SHARED = preset("e4b-small")
"""Layers 6 to 11 have the keys of layers 4 and 5."""


@pytest.fixture
def said(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(PARTITION, request.param)
    return request.param


def vllm(layers: int, ranks: int) -> list[int]:
    utils = pytest.importorskip("vllm.distributed.utils")
    each = [utils.get_pp_indices(layers, rank, ranks) for rank in range(ranks)]
    return [end - start for start, end in each]


@pytest.mark.parametrize(("layers", "ranks"), [(12, 2), (13, 2), (14, 4), (30, 4), (5, 5)])
def test_layers_are_dealt_as_by_vllm(layers: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARTITION, raising=False)
    assert usage._partition(layers, ranks) == vllm(layers, ranks)


@pytest.mark.parametrize("said", ["4,8", "1, 11"], indirect=True)
def test_what_the_shell_says_is_heeded_as_by_vllm(said: str) -> None:
    assert usage._partition(12, 2) == vllm(12, 2) == [int(part) for part in said.split(",")]


@pytest.mark.parametrize("said", ["4,8", "2,10"], indirect=True)
def test_layers_that_share_keys_may_have_a_rank_of_their_own_by_it(said: str) -> None:
    usage._check_pipeline(EngineOptions(pipeline_parallel=2), SHARED)


@pytest.mark.parametrize("said", ["6,6", "5,7"], indirect=True)
def test_a_rank_without_the_layer_whose_keys_it_needs_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match=r"pipeline-parallel.*which another rank would have"):
        usage._check_pipeline(EngineOptions(pipeline_parallel=2), SHARED)


@pytest.mark.parametrize("said", ["12", "6,7", "0,12", "6,6,0", "a,b", "", "-1,13", "1_0,2"], indirect=True)
def test_a_partition_that_is_none_is_named_by_its_variable(said: str) -> None:
    with pytest.raises(UsageError, match=f"{PARTITION}.*unset, or 2 numbers of layers.*12 in all"):
        usage._check_pipeline(EngineOptions(pipeline_parallel=2), SHARED)
    usage._check_pipeline(EngineOptions(), SHARED)
