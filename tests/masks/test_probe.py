"""Any mask comes back from the outputs of an attention whose weights are uniform."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.masks.kernels import DTYPES, KERNELS, outputs

from harness.masks import probe


@st.composite
def masks(draw: st.DrawFn, largest: int = 160) -> torch.Tensor:
    """Boolean (heads, rows, keys), sparse and dense; every query may see itself, or need not."""
    keys = draw(st.integers(1, largest))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0.02, 0.2, 0.5, 0.9, 1.0]))
    mask = torch.rand(draw(st.integers(1, 3)), keys, keys, generator=generator) < density
    return mask | torch.eye(keys, dtype=torch.bool) if draw(st.booleans()) else mask


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(mask=masks(), channels=st.sampled_from([8, 16, 32, 64]))
def test_any_mask_comes_back(dtype: torch.dtype, kernel, mask: torch.Tensor, channels: int) -> None:
    decoded = probe.decode(outputs(mask, channels, dtype, kernel), mask.shape[-1])
    assert torch.equal(decoded, mask.transpose(0, 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_causal_rows_come_back(dtype: torch.dtype) -> None:
    mask = torch.ones(1, 1500, 1500, dtype=torch.bool).tril()
    assert torch.equal(probe.decode(outputs(mask, 256, dtype), 1500), mask.transpose(0, 1))


@given(st.integers(1, 500), st.sampled_from([8, 32, 64]))
def test_every_key_has_a_code_of_its_own_in_exactly_one_pass(tokens: int, channels: int) -> None:
    positions = torch.arange(tokens)
    passes = range(probe.passes_for(tokens, channels))
    values = torch.cat([probe.codes(positions, channels, number, torch.float32) for number in passes], dim=1)
    assert (values.count_nonzero(1) == 1).all()
    assert len({tuple(row) for row in values.nonzero().tolist()}) == tokens
    assert len({tuple(row.tolist()) for row in values}) == tokens


def test_no_pass_more_than_needed() -> None:
    assert [probe.passes_for(tokens, 32) for tokens in (1, 128, 129, 256)] == [1, 1, 2, 2]


@given(st.integers(1, 70).flatmap(lambda keys: st.lists(st.lists(st.booleans(), min_size=keys, max_size=keys), min_size=1)))
def test_packing_is_that_of_numpy(rows: list[list[bool]]) -> None:
    import numpy as np

    mask = torch.tensor(rows)
    assert np.array_equal(probe.pack(mask).numpy(), np.packbits(mask.numpy(), axis=-1))
