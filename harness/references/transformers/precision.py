"""Precisions that torch does not offer by a dtype."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tf32() -> Iterator[None]:
    """Let products of float32 matrices be computed in TF32, as GPU kernels often do by default."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def kept(dtype: torch.dtype) -> Iterator[None]:
    """Keep a float64 model in float64: modules that compute in float32 at least call `Tensor.float()`.

    That is so in every thread of the process: what means float32 meanwhile says `to(torch.float32)`.
    """
    if dtype != torch.float64:
        yield
        return
    original = torch.Tensor.float

    def widen(tensor, **kwargs):
        return original(tensor, **kwargs) if tensor.dtype in (torch.float32, torch.bfloat16) else tensor.double()

    torch.Tensor.float = widen
    try:
        yield
    finally:
        torch.Tensor.float = original
