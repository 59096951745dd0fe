"""Where the weights are not uniform over some set of keys there is an error, and no mask."""

import pytest
import torch

from harness.masks import probe
from tests.masks.kernels import DTYPES, decode, outputs


def causal(keys: int) -> torch.Tensor:
    return torch.ones(1, keys, keys).tril()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
def test_the_weights_of_a_real_query(dtype: torch.dtype, seed: int) -> None:
    scores = torch.randn(1, 40, 40, generator=torch.Generator().manual_seed(seed))
    with pytest.raises(probe.ProbeError, match=r"weights of \d+ rows are not 1/\|A\|; the first is row"):
        decode(outputs(scores.exp() * causal(40), 16, dtype), 40)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_key_with_twice_the_weight_of_the_others(dtype: torch.dtype) -> None:
    weights = causal(20)
    weights[0, 12, 3] = 2.0
    with pytest.raises(probe.ProbeError, match=r"1 rows .* the first is row 12, head 0"):
        decode(outputs(weights, 32, dtype), 20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_do_not_sum_to_one(dtype: torch.dtype) -> None:
    short = outputs(causal(20), 32, dtype)
    short[:, 12] *= 0.97  # 13.4 keys
    with pytest.raises(probe.ProbeError, match=r"1 rows .* the first is row 12, head 0"):
        decode(short, 20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_are_all_the_same_share_of_what_they_should_be(dtype: torch.dtype) -> None:
    """Half of 1/|A| is 1/(|A| + |A|); no keys are counted in that way, a factor of the values does it."""
    with pytest.raises(probe.ProbeError, match="all 20 rows are the same share"):
        decode(outputs(causal(20), 32, dtype) / 2, 20)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_output_that_is_not_finite(value: float) -> None:
    broken = outputs(causal(20), 32, torch.float32)
    broken[0, 7, 0, 5] = value
    with pytest.raises(probe.ProbeError, match="not finite in 1 rows"):
        decode(broken, 20)


def test_a_negative_output() -> None:
    with pytest.raises(probe.ProbeError):
        decode(-outputs(causal(20), 32, torch.float32), 20)


def test_query_heads_of_one_kv_head_that_disagree() -> None:
    weights = causal(6).repeat(4, 1, 1)
    weights[2, 3, 1] = 0
    with pytest.raises(probe.ProbeError, match="KV head group 1 do not agree in row 3"):
        decode(outputs(weights, 16, torch.float32), 6, kv_heads=2)


def test_kv_heads_may_differ_from_each_other() -> None:
    weights = causal(6).repeat(4, 1, 1)
    weights[2:, 3, 1] = 0
    by_group = decode(outputs(weights, 16, torch.float32), 6, kv_heads=2)
    assert by_group.shape == (2, 6, 6)
    assert torch.equal(by_group, weights[::2] > 0)


def test_a_key_after_the_end_of_the_prompt() -> None:
    """A query may not attend what stands in the cache after its request."""
    with pytest.raises(probe.ProbeError, match="after the last of the prompt's 19 tokens"):
        decode(outputs(causal(20), 32, torch.float32), 19)
