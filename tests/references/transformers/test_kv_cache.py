"""Keys and values as a KV cache keeps them: what rounding must leave alone, and by how much it may be off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.drivers.process import ROOT, SITE
from harness.engines.vllm.options import CPU_BACKEND, KV_DTYPES, UNCODED
from harness.masks import probe
from harness.references.transformers.kv_cache import ROUNDED, in_four_bits, turned

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
def test_position_codes_survive_but_where_masks_are_refused(name: str) -> None:
    codes = probe.codes(torch.arange(40), 16, 1, torch.float32)
    survive = torch.allclose(ROUNDED[name](codes), codes, rtol=1e-6, atol=0)
    assert survive == (name not in UNCODED)


@pytest.mark.parametrize("name", [name for name in ROUNDED if name not in UNCODED])
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


@pytest.mark.parametrize("size", [8, 24, 64, 96, 128])
def test_what_is_turned_back_is_what_it_was_and_keeps_products(size: int) -> None:
    one, other = torch.randn(2, 5, size)
    block = size & -size
    torch.testing.assert_close(turned(turned(one), back=True), one)
    torch.testing.assert_close(
        (turned(one) * turned(other)).sum(-1) / block, (one * other).sum(-1), rtol=1e-4, atol=1e-4
    )


def test_four_bits_are_off_by_a_step_of_each_token_and_head_at_most() -> None:
    """Half a step for the value, and where it is cut off half of one for the zero point."""
    values = drawn()
    around = turned(values)
    steps = (around.amax(-1, keepdim=True) - around.amin(-1, keepdim=True)) / 15
    off = ((turned(in_four_bits(values)) - around) / steps).abs().max()
    assert 0.45 < off <= 1.001


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 96, 128])
def test_four_bits_are_those_that_vllm_keeps(size: int) -> None:
    """Its own kernel writes the cache, in Triton's interpreter; what it wrote is read as its reading kernel does."""
    values = torch.randn(3, 2, size, generator=torch.Generator().manual_seed(1))
    script = Path(__file__).with_name("four_bits.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1", CPU_BACKEND: "triton"}
    environment["PYTHONPATH"] = os.pathsep.join([str(SITE), str(ROOT)])
    told = subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps(values.tolist()),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    theirs = torch.tensor(json.loads(told.stdout.splitlines()[-1]))
    torch.testing.assert_close(in_four_bits(values), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "float16"])
def test_what_is_too_large_is_the_largest(name: str) -> None:
    assert ROUNDED[name](torch.tensor([1e30, -1e30])).isfinite().all()
