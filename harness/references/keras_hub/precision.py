"""The truth in float64, where keras-hub asks for float32 whatever the precision of the model is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any


class _Widened:
    """`keras.ops` that are given float64 where float32 is asked for."""

    def __init__(self, ops: ModuleType) -> None:
        self._ops = ops

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ops, name)
        return _widened(found) if callable(found) else found


def _widened(operation: Callable) -> Callable:
    @wraps(operation)
    def called(*args: Any, **kwargs: Any) -> Any:
        wider = ["float64" if isinstance(one, str) and one == "float32" else one for one in args]
        named = {key: "float64" if key == "dtype" and one == "float32" else one for key, one in kwargs.items()}
        return operation(*wider, **named)

    return called


@contextmanager
def kept(dtype: str) -> Iterator[None]:
    """Keep a float64 model in float64 while it is built or run: norms, rotary angles and the scores of routers are made in float32,
    constants in Keras' own default, and whatever two float64 give is float32 to Keras (`BIT64_TO_BIT32_DTYPE`)."""
    if dtype != "float64":
        yield
        return
    import keras
    from keras.src.backend.common import dtypes
    from keras_hub.src.layers.modeling import rotary_embedding
    from keras_hub.src.models.gemma4 import (
        gemma4_attention,
        gemma4_backbone,
        gemma4_decoder_block,
        gemma4_layers,
        gemma4_moe,
    )

    modules: list[Any] = [
        rotary_embedding,
        gemma4_attention,
        gemma4_backbone,
        gemma4_decoder_block,
        gemma4_layers,
        gemma4_moe,
    ]
    usual, of_two = keras.config.floatx(), dtypes.BIT64_TO_BIT32_DTYPE[dtype]
    keras.config.set_floatx(dtype)
    dtypes.BIT64_TO_BIT32_DTYPE[dtype] = dtype
    for module in modules:
        module.ops = _Widened(keras.ops)
    try:
        yield
    finally:
        for module in modules:
            module.ops = keras.ops
        dtypes.BIT64_TO_BIT32_DTYPE[dtype] = of_two
        keras.config.set_floatx(usual)


def widen_softmax(backbone: Any) -> None:
    """Let the attention of a float64 model take its softmax in that: its layer is made for float32."""
    for block in backbone.transformer_layers:
        block.attention.softmax.dtype_policy = "float64"
