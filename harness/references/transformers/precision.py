"""Precisions that torch does not offer by a dtype."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


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
    """Keep a float64 model in float64, in this thread: modules that compute in float32 at least call `Tensor.float()`, and those of
    5.16 and 5.17 `Tensor.to(dtype=torch.float)` for one factor of two."""
    if dtype != torch.float64:
        yield
        return
    with _Widened():
        yield


class _Widened(TorchFunctionMode):
    """Lets `Tensor.float()` give float64 for what is neither float32 nor bfloat16, and `Tensor.to` leave float64 what would become
    float32. A mode holds for the thread that enters it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float and args[0].dtype not in (torch.float32, torch.bfloat16):
            return args[0].double()
        named = kwargs or {}
        if func is torch.Tensor.to and args[0].dtype == torch.float64 and named.get("dtype") is torch.float32:
            named = {**named, "dtype": torch.float64}
        return func(*args, **named)
