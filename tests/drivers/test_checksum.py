"""A checksum sees every change and adds up over pieces."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.drivers import checksum

DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])
SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=4)


def drawn(sizes: list[int], seed: int) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


@given(SIZES, DTYPES, st.data())
def test_pieces_add_up_to_the_whole(sizes: list[int], dtype: torch.dtype, data: st.DataObject) -> None:
    tensor = drawn(sizes, data.draw(st.integers(0, 99)))
    dim = data.draw(st.integers(0, len(sizes) - 1))
    at = data.draw(st.integers(0, sizes[dim]))
    starts = [at if each == dim else 0 for each in range(len(sizes))]
    first, second = tensor.split([at, sizes[dim] - at], dim=dim)
    sums = checksum.of(first, dtype), checksum.of(second, dtype, starts)
    assert checksum.added(sums) == checksum.of(tensor, dtype)


@given(SIZES, DTYPES, st.data())
def test_one_changed_bit_changes_it(sizes: list[int], dtype: torch.dtype, data: st.DataObject) -> None:
    tensor = drawn(sizes, 0).to(dtype)
    changed = tensor.clone().flatten()
    bits = changed.view(getattr(torch, checksum.BITS[changed.element_size()]))
    bits[data.draw(st.integers(0, len(bits) - 1))] ^= 1 << data.draw(st.integers(0, 8 * changed.element_size() - 2))
    assert checksum.of(changed.reshape(tensor.shape), dtype) != checksum.of(tensor, dtype)


@given(st.integers(2, 6), st.integers(0, 99))
def test_what_stands_elsewhere_has_another(size: int, seed: int) -> None:
    tensor = drawn([size, size], seed)
    for other in (tensor.T, tensor.flip(0), tensor.roll(1, 1), tensor[torch.randperm(size)] + 0):
        assert torch.equal(other, tensor) == (checksum.of(other, torch.float32) == checksum.of(tensor, torch.float32))


def test_a_tensor_that_is_widened_in_parts_has_the_sum_of_the_whole(monkeypatch) -> None:
    tensor = drawn([50, 7], 0)
    whole = checksum.of(tensor, torch.float32)
    monkeypatch.setattr(checksum, "AT_ONCE", 20)
    assert checksum.of(tensor, torch.float32) == whole


def test_an_exact_widening_and_a_rounding_are_seen_in_the_dtype_that_is_asked_for() -> None:
    narrow = drawn([4, 4], 0).to(torch.bfloat16)
    assert checksum.of(narrow.float(), torch.bfloat16) == checksum.of(narrow, torch.bfloat16)
    assert checksum.of(narrow.float(), torch.float32) == checksum.of(narrow, torch.float32)


def test_a_scalar_and_nothing_have_one() -> None:
    assert checksum.of(torch.tensor(3.0), torch.float32) == checksum.of(torch.tensor([3.0]), torch.float32)
    assert checksum.of(torch.empty(0, 3), torch.float32) == 0


@given(SIZES, DTYPES)
def test_numpy_alone_has_the_same(sizes: list[int], dtype: torch.dtype) -> None:
    tensor = drawn(sizes, 0).to(dtype)
    bits = tensor.view(getattr(torch, checksum.BITS[tensor.element_size()])).numpy()
    assert checksum.of_bits(bits) == checksum.of(tensor, dtype)
    if dtype != torch.bfloat16:
        assert checksum.of_bits(tensor.numpy()) == checksum.of(tensor, dtype)
