"""One prompt through the official model, with what its attention computes seen beside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from harness.masks.observed import Weights
from harness.references.official import precision, routing


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Soft:
    """Embeddings of the soft tokens of a prompt, (1, soft tokens, hidden size) each, in its order; none where it has none."""

    vision: jax.Array | None = None
    audio: jax.Array | None = None


@dataclass
class Seen:
    """By the index of a layer: the `Weights` of a call with queries 0, the attention output (N, heads * head size), the hidden
    state after the layer (N, hidden size), and the scores of its router (N, experts) where it has one."""

    weights: dict[int, tuple] = field(default_factory=dict)
    attention: dict[int, jax.Array] = field(default_factory=dict)
    hidden: dict[int, jax.Array] = field(default_factory=dict)
    scores: dict[int, jax.Array] = field(default_factory=dict)


def forward(model: Any, tokens: jax.Array, soft: Soft = Soft()) -> jax.Array:
    """Logits (1, N, V): what the official `Transformer.__call__` does, but for `remove_mm_logits`, which removes logits at
    Gemma 3's positions (`gm/vision/_token_utils.py`). Its towers give what `_given` says."""
    inputs = model._encode_and_get_inputs(tokens=tokens, images=soft.vision, audio=soft.audio)
    x, _ = model._apply_attention(inputs, None)
    logits = model.embedder.decode(x)
    if model.config.final_logit_softcap is not None:
        logits /= model.config.final_logit_softcap
        logits = jnp.tanh(logits) * model.config.final_logit_softcap
    return logits


class Runner:
    """A model with parameters of one dtype; compiled once for each length of a prompt and number of soft tokens."""

    def __init__(self, model: Any, parameters: dict, dtype: str) -> None:
        self._model, self._parameters, self._dtype = model, parameters, dtype
        self._plain = jax.jit(self._run)
        self._observed = jax.jit(partial(self._run, observe=True))
        self._swapped = jax.jit(partial(self._run, swap=True))

    def observed(self, tokens: jax.Array, soft: Soft) -> tuple[jax.Array, Seen]:
        """Logits (N, V), and what was seen beside them."""
        return self._called(self._observed, tokens, soft)

    def scored(self, tokens: jax.Array, soft: Soft) -> tuple[jax.Array, Seen]:
        """Logits (N, V), and the scores of routers."""
        return self._called(self._plain, tokens, soft)

    def swapped(self, tokens: jax.Array, soft: Soft, reach: dict[int, jax.Array]) -> jax.Array:
        """Logits (N, V) with the ties of routers decided the other way (`routing.swapped`)."""
        logits, _ = self._called(self._swapped, tokens, soft, reach)
        return logits

    def _called(self, run: Callable, *arguments: Any) -> tuple[jax.Array, Seen]:
        with precision.kept(self._dtype):
            logits, seen = run(self._parameters, *arguments)
        return logits, Seen(**seen)

    def _run(
        self,
        parameters: dict,
        tokens: jax.Array,
        soft: Soft,
        reach: dict[int, jax.Array] | None = None,
        *,
        observe: bool = False,
        swap: bool = False,
    ) -> tuple[jax.Array, dict]:
        seen = Seen()
        with (
            nn.intercept_methods(partial(_given, soft)),
            nn.intercept_methods(partial(routing.called, seen.scores, reach if swap else None)),
            nn.intercept_methods(_Observer(seen)) if observe else nullcontext(),
        ):
            logits = self._model.apply(parameters, tokens, soft, method=forward)
        return logits[0], vars(seen)


def _given(soft: Soft, call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    """Let what the towers would make be what is given; nothing is asked of them."""
    if context.method_name == "_encode_vision":
        return soft.vision
    if context.method_name == "_encode_audio":
        return soft.audio
    return call(*args, **kwargs)


class _Observer:
    """Calls every attention a second time, with its queries 0, and takes the weights of that call where it computes them."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._probing = False

    def __call__(self, call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        from gemma.gm.nn.gemma4 import _modules

        if context.method_name != "__call__":
            return call(*args, **kwargs)
        module = context.module
        if isinstance(module, _modules.Attention):
            result = call(*args, **kwargs)
            self._probing = True
            call(*args, **kwargs)
            self._probing = False
            return result
        if isinstance(module, _modules.Block):
            result = call(*args, **kwargs)
            self._seen.hidden[_layer(module)] = result[1][0]
            return result
        if isinstance(module.parent, _modules.Attention):
            return self._inside(module, call, args, kwargs)
        return call(*args, **kwargs)

    def _inside(self, module: nn.Module, call: Callable, args: tuple, kwargs: dict) -> Any:
        """A call of a part of an attention."""
        index = _layer(module)
        if self._probing and module.name == "q_einsum":
            return jnp.zeros_like(call(*args, **kwargs))
        if self._probing and module.name == "attention_weights":
            found = Weights.of(args[0][0], jnp)
            self._seen.weights[index] = (found.mask, found.count, found.least, found.most)
        if not self._probing and module.name == "attn_vec_einsum":
            encoded = args[1][0]
            self._seen.attention[index] = encoded.reshape(len(encoded), -1)
        return call(*args, **kwargs)


def _layer(module: nn.Module) -> int:
    return int(module.path[0].removeprefix("layer_"))
