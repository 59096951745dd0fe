"""Keys and values as a KV cache keeps them: what rounding must leave alone, and by how much it may be off."""

from __future__ import annotations

import pytest
import torch

from harness.engines.vllm.options import KV_DTYPES
from harness.masks import probe
from harness.references.transformers.kv_cache import ROUNDED

RELATIVE = {"float16": 2**-11, "bfloat16": 2**-8, "fp8": 2**-4, "fp8_e4m3": 2**-4, "fp8_e5m2": 2**-3}
"""Half of the last place of a normal number."""


def drawn() -> torch.Tensor:
    """Tokens, heads, channels; magnitudes from 0.1 to 10, as keys and values that are normed have them."""
    draws = torch.Generator().manual_seed(0)
    size = (64, 2, 32)
    return (0.1 * 100 ** torch.rand(size, generator=draws)) * torch.randn(size, generator=draws).sign()


def test_serving_offers_what_the_reference_can_round() -> None:
    assert ("auto", *ROUNDED) == KV_DTYPES


@pytest.mark.parametrize("name", ROUNDED)
def test_position_codes_survive(name: str) -> None:
    codes = probe.codes(torch.arange(40), 16, 1, torch.float32)
    torch.testing.assert_close(ROUNDED[name](codes), codes, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_was_rounded_is_not_rounded_again(name: str, dtype: torch.dtype) -> None:
    once = ROUNDED[name](drawn().to(dtype))
    assert once.dtype == dtype
    again = ROUNDED[name](once)
    torch.testing.assert_close(again, once, rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize(("name", "bound"), RELATIVE.items())
def test_floating_point_is_off_by_half_its_last_place_at_most(name: str, bound: float) -> None:
    values = drawn()
    off = ((ROUNDED[name](values) - values) / values).abs().max()
    assert bound / 2 < off <= bound


def test_integers_are_off_by_half_a_step_of_each_token_and_head_at_most() -> None:
    values = drawn()
    steps = values.abs().amax(-1, keepdim=True) / 127
    off = ((ROUNDED["int8_per_token_head"](values) - values) / steps).abs().max()
    assert 0.45 < off <= 0.5001


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "float16"])
def test_what_is_too_large_is_the_largest(name: str) -> None:
    assert ROUNDED[name](torch.tensor([1e30, -1e30])).isfinite().all()
