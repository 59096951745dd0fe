"""Where the observer reaches into a worker's model: its attention layers, its decoder layers, and the model as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from harness.engines.vllm.observer.probing import Call

_ATTENTION = re.compile(r"language_model.*\.layers\.(\d+)\.")
_DECODER = re.compile(r"language_model.*\.layers\.(\d+)$")


def attention_layers(runner: Any) -> dict[str, Any]:
    """The attention layers of the language model, by vLLM's names."""
    context = runner.vllm_config.compilation_config.static_forward_context
    return {name: layer for name, layer in context.items() if _ATTENTION.search(name) and hasattr(layer, "impl")}


def index_of(name: str) -> int:
    """The index of the decoder layer that an attention layer of the language model is in."""
    found = _ATTENTION.search(name)
    assert found
    return int(found[1])


def after_attention(name: str, layer: Any, seen: Callable[[int, Call], None]) -> None:
    """Call ``seen`` with the layer's index and each call of its attention that has metadata, after it."""
    index, original = index_of(name), layer.impl.forward

    def forward(layer_, query, key, value, kv_cache, attn_metadata, *args, **kwargs):
        result = original(layer_, query, key, value, kv_cache, attn_metadata, *args, **kwargs)
        if attn_metadata is not None:
            output = kwargs.get("output", args[0] if args else result)
            seen(index, Call(name, original, layer_, query, key, kv_cache, attn_metadata, output))
        return result

    layer.impl.forward = forward


def around_model(model: torch.nn.Module, before: Callable, after: Callable[[torch.Tensor], None]) -> None:
    """Call ``before`` with the positions of a step's tokens before each forward, ``after`` with the hidden states that it
    returns."""

    def pre(module, args, kwargs) -> None:
        before(kwargs.get("positions", args[1] if len(args) > 1 else None))

    def post(module, args, output) -> None:
        if torch.is_tensor(output):
            after(output)

    model.register_forward_pre_hook(pre, with_kwargs=True)
    model.register_forward_hook(post)


def after_decoder_layers(
    model: torch.nn.Module, wanted: Callable[[int], bool], seen: Callable[[int, torch.Tensor], None]
) -> None:
    """Call ``seen`` with the index of each decoder layer that is ``wanted`` and the hidden states after it, in steps that are not
    compiled."""

    def hook(index: int) -> Callable:
        def after(module, args, output):
            if torch.compiler.is_compiling() or not wanted(index):
                return
            hidden, residual = output[:2] if isinstance(output, tuple) else (output, None)
            seen(index, hidden if residual is None else hidden + residual)

        return after

    for name, module in model.named_modules():
        found = _DECODER.search(name)
        if found and type(module).__name__.endswith("DecoderLayer"):
            module.register_forward_hook(hook(int(found[1])))
