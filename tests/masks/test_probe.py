"""The mask comes back from the outputs of an attention whose weights are uniform over the keys that it lets through."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.masks import probe
from harness.masks.policies import POLICIES
from harness.prompts.strategies import layouts, windows
from tests.masks.kernels import DTYPES, KERNELS, decode, outputs

CHANNELS = st.sampled_from([16, 32, 64])


@st.composite
def masks_of_policies(draw: st.DrawFn) -> torch.Tensor:
    """Boolean (1, N, N): what some policy says of some layout."""
    layout, window = draw(layouts(max_tokens=200, longest=100)), draw(windows(128))
    spans = [(span.start, span.end) for span in layout.spans]
    policy = POLICIES[draw(st.sampled_from(sorted(POLICIES)))]
    return torch.from_numpy(policy.mask(len(layout), spans, window, sliding=draw(st.booleans())))[None]


@st.composite
def random_masks(draw: st.DrawFn) -> torch.Tensor:
    """Boolean (heads, N, N), sparse and dense; queries see themselves, or need not."""
    keys = draw(st.integers(1, 160))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    density = draw(st.sampled_from([0.02, 0.2, 0.5, 0.9, 1.0]))
    mask = torch.rand(draw(st.integers(1, 3)), keys, keys, generator=generator) < density
    return mask | torch.eye(keys, dtype=torch.bool) if draw(st.booleans()) else mask


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(mask=masks_of_policies(), channels=CHANNELS)
def test_every_mask_of_a_policy_comes_back(dtype: torch.dtype, kernel, mask: torch.Tensor, channels: int) -> None:
    decoded = decode(outputs(mask, channels, dtype, kernel), mask.shape[-1])
    assert torch.equal(decoded, mask.transpose(0, 1))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(mask=random_masks(), channels=CHANNELS)
def test_any_mask_comes_back(dtype: torch.dtype, kernel, mask: torch.Tensor, channels: int) -> None:
    decoded = decode(outputs(mask, channels, dtype, kernel), mask.shape[-1])
    assert torch.equal(decoded, mask.transpose(0, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [16, 64])
def test_every_run_of_keys_comes_back(dtype: torch.dtype, channels: int) -> None:
    keys = 4 * channels
    position = torch.arange(keys)
    runs = [(position >= start) & (position < end) for start in range(keys) for end in range(start + 1, keys + 1)]
    mask = torch.stack(runs)[None, :: channels // 16]
    assert torch.equal(decode(outputs(mask, channels, dtype), keys), mask.transpose(0, 1))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tokens", "channels"), [(1500, 256), (2500, 512)])
def test_long_causal_rows_come_back(dtype: torch.dtype, kernel, tokens: int, channels: int) -> None:
    mask = torch.ones(1, tokens, tokens, dtype=torch.bool).tril()[:, ::7]
    assert torch.equal(decode(outputs(mask, channels, dtype, kernel), tokens), mask.transpose(0, 1))


@given(st.integers(1, 500), CHANNELS)
def test_every_key_has_a_code_of_its_own(tokens: int, channels: int) -> None:
    positions = torch.arange(tokens)
    passes = range(probe.passes_for(tokens, channels))
    values = torch.cat([probe.codes(positions, channels, number, torch.float32) for number in passes], dim=1)
    assert (values.count_nonzero(1) == 1).all()
    assert len({tuple(row) for row in values.tolist()}) == tokens


def test_there_is_no_pass_more_than_needed() -> None:
    full = 32
    assert [probe.passes_for(tokens, 32) for tokens in (1, full, full + 1, 2 * full)] == [1, 1, 2, 2]


@given(st.integers(1, 70), st.integers(1, 5), st.randoms())
def test_packing_is_that_of_numpy(keys: int, rows: int, random) -> None:
    mask = np.array([[random.random() < 0.5 for _ in range(keys)] for _ in range(rows)])
    assert np.array_equal(probe.pack(torch.from_numpy(mask)).numpy(), np.packbits(mask, axis=-1))
