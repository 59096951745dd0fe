"""The truth in float64, where the official code asks for float32 whatever the precision of the model is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax.numpy as jnp


class _Widened:
    """`jax.numpy` in which float32 is float64."""

    float32 = jnp.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)


@contextmanager
def kept(dtype: str) -> Iterator[None]:
    """Keep a float64 model in float64 while it is traced: rotary angles and the scores of routers are made in float32
    (`_positional_embeddings.py`, `_moe.py`)."""
    from gemma.gm.math import _positional_embeddings
    from gemma.gm.nn.gemma4 import _moe

    modules = [_positional_embeddings, _moe] if dtype == "float64" else []
    for module in modules:
        module.jnp = _Widened()
    try:
        yield
    finally:
        for module in modules:
            module.jnp = jnp
