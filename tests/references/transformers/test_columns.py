"""What each column of a cache holds, against keys that carry their own positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.families.limits import LONGEST as LONGEST_PROMPT
from harness.references.transformers.columns import BASE, Columns

CHANNELS, LONGEST = 8, 40


def cache_of(kind: str, window: int):
    from transformers import Gemma3TextConfig
    from transformers.cache_utils import DynamicCache, StaticCache

    layers = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(
        num_hidden_layers=2, layer_types=layers, sliding_window=window, num_key_value_heads=1, head_dim=CHANNELS
    )
    return DynamicCache(config=config) if kind == "dynamic" else StaticCache(config=config, max_cache_len=LONGEST)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@given(window=st.integers(2, 12), steps=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_column_is_of_the_position_whose_key_is_in_it(kind: str, window: int, steps: list[int]) -> None:
    cache, columns, start = cache_of(kind, window), Columns(), 0
    with columns.followed():
        for step in steps:
            positions = torch.arange(start, start + step)
            keys = torch.randn(1, 1, step, CHANNELS)
            keys[..., -1] = positions + 1
            for layer in (0, 1):
                given_, _ = cache.update(keys, keys.clone(), layer)
                held = columns.of(given_)
                assert (held + 1).tolist() == given_[0, 0, :, -1].int().tolist()
            start += step


def test_two_digits_are_exact_in_every_dtype_of_a_cache() -> None:
    assert LONGEST_PROMPT < BASE * 256
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.arange(257).to(dtype).int().tolist() == list(range(257))
