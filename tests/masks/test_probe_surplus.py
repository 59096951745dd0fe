"""Keys that a row counts beside those that it attends are counted, where the precision of its weights can tell them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.masks import probe
from tests.masks.kernels import DTYPES, KERNELS, normalized_last, unpacked

CHANNELS = 32
TOLD = {torch.float32: 3_000, torch.float16: 400, torch.bfloat16: 50}
"""As many keys in all are told from one more and one less, whatever rounding does; in float32 60,000 are."""


def counting(
    mask: torch.Tensor, more: torch.Tensor, dtype: torch.dtype, kernel=normalized_last, kv_heads: int = 0
) -> probe.Recovered:
    """What is recovered of a kernel that lets ``mask`` (heads, rows, keys) through and counts ``more`` (heads, rows) keys
    whose values are 0."""
    keys, most = mask.shape[-1], int(more.max())
    counted = torch.arange(most) < more[..., None]
    weights = torch.cat([mask, counted], dim=-1).double()
    decoder = probe.Decoder()
    for number in range(probe.passes_for(keys, CHANNELS)):
        values = probe.codes(torch.arange(keys), CHANNELS, number, dtype)
        decoder.add(kernel(weights, torch.cat([values, values.new_zeros(most, CHANNELS)])).transpose(0, 1))
    return decoder.recovered(kv_heads or len(mask))


@st.composite
def kernels_that_count_too_many(draw: st.DrawFn, most: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """A causal mask with holes (1, N, N), and how many keys each of some rows counts beside it (1, N); the first row none."""
    keys = draw(st.integers(2, 70))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    mask = (torch.rand(1, keys, keys, generator=generator) < draw(st.sampled_from([0.3, 1.0]))).tril()
    mask |= torch.eye(keys, dtype=torch.bool)
    more = torch.randint(0, draw(st.integers(1, most)) + 1, (1, keys), generator=generator, dtype=torch.int32)
    more[:, 0] = 0
    return mask, more


@pytest.mark.parametrize("kernel", KERNELS)
@given(drawn=kernels_that_count_too_many())
def test_in_float32_every_number_is_told(kernel, drawn: tuple[torch.Tensor, torch.Tensor]) -> None:
    mask, more = drawn
    recovered = counting(mask, more, torch.float32, kernel)
    surplus = recovered.surplus()
    assert torch.equal(torch.zeros_like(more) if surplus is None else surplus, more)
    assert bool(recovered.doubtful) == bool(more.any())
    assert torch.equal(unpacked(recovered.mask, mask.shape[-1]), mask)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@given(drawn=kernels_that_count_too_many())
def test_in_16_bits_a_number_that_is_told_is_right(
    dtype: torch.dtype, kernel, drawn: tuple[torch.Tensor, torch.Tensor]
) -> None:
    mask, more = drawn
    recovered = counting(mask, more, dtype, kernel)
    try:
        surplus = recovered.surplus()
    except probe.ProbeError:
        assert int((mask.sum(-1) + more).max()) > TOLD[dtype]
        return
    found = torch.zeros_like(more) if surplus is None else surplus
    unseen = (found != more) & (found == 0)
    assert torch.equal(found[~unseen], more[~unseen])
    assert ((mask.sum(-1) + more)[unseen] > TOLD[dtype]).all(), "so little that rounding hides it"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_key_more_is_told_up_to_the_limit(dtype: torch.dtype) -> None:
    keys = TOLD[dtype] - 1
    surplus = counting(torch.ones(1, 2, keys, dtype=torch.bool), torch.tensor([[0, 1]]), dtype).surplus()
    assert surplus.tolist() == [[0, 1]]


def test_what_two_numbers_explain_is_refused() -> None:
    """Of 101 or 102 keys bfloat16 cannot say which: more than 100, and none that is sure."""
    with pytest.raises(probe.ProbeError, match="not 1/"):
        counting(torch.ones(1, 2, 80, dtype=torch.bool), torch.tensor([[0, 22]]), torch.bfloat16).surplus()


def test_each_kv_head_group_has_its_own() -> None:
    mask = torch.ones(4, 3, 3, dtype=torch.bool).tril()
    more = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 2, 1], [0, 2, 1]])
    assert counting(mask, more, torch.float32, kv_heads=2).surplus().tolist() == [[0, 0, 0], [0, 2, 1]]


def test_query_heads_of_one_kv_head_that_count_differently_are_refused() -> None:
    mask = torch.ones(2, 3, 3, dtype=torch.bool).tril()
    with pytest.raises(probe.ProbeError, match="KV head group 0 do not count the same keys in row 2"):
        counting(mask, torch.tensor([[0, 1, 1], [0, 1, 2]]), torch.float32, kv_heads=1).surplus()
