"""Blocks of a KV cache are filled wherever a back end has them, and no others."""

import pytest
import torch

from harness.engines.vllm.blocks import POISON, fill


@pytest.mark.parametrize("shape", [(6, 2, 3), (2, 6, 3), (12, 2, 3)], ids=["first", "second", "two-of-the-kernel"])
def test_these_blocks_and_no_others(shape: tuple[int, ...]) -> None:
    cache = torch.zeros(shape)
    fill(cache, [1, 4], 6, POISON)
    by_block = cache.movedim(1, 0) if shape[0] == 2 else cache
    wrong = by_block.isnan().reshape(6, -1)
    assert wrong.all(dim=1).tolist() == wrong.any(dim=1).tolist() == [False, True, False, False, True, False]


def test_no_block_is_none() -> None:
    cache = torch.zeros(6, 2)
    fill(cache, [], 6, POISON)
    assert not cache.isnan().any()


@pytest.mark.parametrize("cache", [torch.zeros(6, 2, dtype=torch.int8), torch.zeros(5, 5)], ids=["int8", "other"])
def test_a_cache_that_cannot_be_poisoned_is_refused(cache: torch.Tensor) -> None:
    with pytest.raises(RuntimeError, match="a KV cache of "):
        fill(cache, [0], 6, POISON)
