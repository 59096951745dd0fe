"""The mask in attention weights, read by NumPy: the same that the decoder of kernel outputs reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.masks.observed import ProbeError, Weights
from harness.masks.probe import Decoder

EPSILON = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-7}


def weights_of(mask: np.ndarray, heads: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(rows, heads, keys): 1/|A| on the keys of a mask (rows, keys), as a softmax in ``dtype`` over equal scores gives it."""
    scores = torch.where(torch.from_numpy(mask), 0.0, -torch.inf).to(dtype)
    return torch.softmax(scores, dim=-1)[:, None].expand(-1, heads, -1)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Boolean (N, N) in which every query sees itself."""
    tokens, seed = draw(st.integers(1, 90)), draw(st.integers(0, 2**32))
    density = draw(st.sampled_from([0.02, 0.3, 0.9, 1.0]))
    return (np.random.default_rng(seed).random((tokens, tokens)) < density) | np.eye(tokens, dtype=bool)


@given(mask=masks(), kv_heads=st.sampled_from([1, 2]), dtype=st.sampled_from(list(EPSILON)))
def test_the_mask_comes_back_as_the_decoder_of_kernel_outputs_reads_it(
    mask: np.ndarray, kv_heads: int, dtype: torch.dtype
) -> None:
    weights = weights_of(mask, 4, dtype)
    found = Weights.of(weights.float().numpy()).recovered(kv_heads, EPSILON[dtype])
    decoder = Decoder()
    decoder.add(weights)
    np.testing.assert_array_equal(found, decoder.recovered(kv_heads).mask.numpy())
    np.testing.assert_array_equal(found, np.repeat(np.packbits(mask, axis=-1)[None], kv_heads, axis=0))


@given(mask=masks(), padding=st.integers(0, 40))
def test_padding_that_nobody_attends_to_is_cut_off(mask: np.ndarray, padding: int) -> None:
    whole = np.pad(mask, (0, padding)) | np.eye(len(mask) + padding, dtype=bool)
    found = Weights.of(weights_of(whole, 2).numpy()).first(len(mask)).recovered(1, EPSILON[torch.float32])
    np.testing.assert_array_equal(found[0], np.packbits(mask, axis=-1))


def test_padding_that_is_attended_to_is_an_error() -> None:
    mask = np.tril(np.ones((20, 20), bool))
    mask[3, 19] = True
    with pytest.raises(ProbeError, match="after the last of the prompt's 19 tokens"):
        Weights.of(weights_of(mask, 2).numpy()).first(19)


@pytest.mark.parametrize("wrong", [0.9, 1.1, np.nan, np.inf, 0.0])
def test_a_row_whose_weights_are_no_uniform_ones_is_an_error(wrong: float) -> None:
    weights = weights_of(np.tril(np.ones((6, 6), bool)), 2).numpy().copy()
    weights[4, 1, :5] *= wrong
    with np.errstate(invalid="ignore"), pytest.raises(ProbeError, match=r"1 rows are not 1/.* row 4, head 1"):
        Weights.of(weights).recovered(1, EPSILON[torch.float32])


def test_heads_of_one_group_that_do_not_agree_are_an_error() -> None:
    mask = np.tril(np.ones((6, 6), bool))
    other = mask.copy()
    other[5, 0] = False
    weights = torch.cat([weights_of(mask, 3), weights_of(other, 1)], dim=1).numpy()
    with pytest.raises(ProbeError, match="KV head group 1 do not agree in row 5"):
        Weights.of(weights).recovered(2, EPSILON[torch.float32])
    four = Weights.of(weights).recovered(4, EPSILON[torch.float32])
    assert (four[3] != four[0]).sum() == 1
