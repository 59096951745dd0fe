"""Mixture of experts: ties of the official routers, as `harness.references.transformers.routing` treats transformers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

REACH = 6.0
"""How many times the median error of the distance of two scores a distance may be to count as a tie: 4 standard deviations
of a normal distribution, whose median is 0.67 of one."""


def called(
    scores: dict[int, jax.Array],
    reach: dict[int, jax.Array] | None,
    call: Callable,
    args: tuple,
    kwargs: dict,
    context: nn.module.InterceptorContext,
) -> Any:
    """Take down the ``scores`` (N, experts) that a router decides by; where there is a ``reach``, let it decide ties the other
    way."""
    if context.method_name != "_router":
        return call(*args, **kwargs)
    (logits,) = args
    index = int(context.module.path[0].removeprefix("layer_"))
    scores[index] = logits[0]
    if reach is None:
        return call(logits)
    return call(_swapped(logits, context.module.num_experts_per_datapoint, reach[index]))


def reaches(
    exact: dict[int, jax.Array], rounded: dict[int, jax.Array], taken: int, tokens: int
) -> dict[int, jax.Array]:
    """How near the last score that is taken and the first that is not have to be to count as a tie, by layer; of the first
    ``tokens`` alone, since what comes after them is padding."""
    return {index: REACH * jnp.median(_moved(exact[index], rounded[index], taken)[:tokens]) for index in exact}


def _moved(exact: jax.Array, rounded: jax.Array, taken: int) -> jax.Array:
    """By how much rounding changes the distance of the two scores (N,)."""
    places = jax.lax.top_k(exact, taken + 1)[1][:, -2:]
    apart = [jnp.diff(jnp.take_along_axis(one.astype(exact.dtype), places, axis=-1)) for one in (exact, rounded)]
    return jnp.abs(apart[0] - apart[1])[:, 0]


def _swapped(scores: jax.Array, taken: int, reach: jax.Array) -> jax.Array:
    """The scores with those two the other way round, where they are a tie."""
    values, places = jax.lax.top_k(scores, taken + 1)
    values, places = values[..., -2:], places[..., -2:]
    tie = values[..., :1] - values[..., 1:] <= reach
    at = jnp.put_along_axis(scores, places, values[..., ::-1], axis=-1, inplace=False)
    return jnp.where(tie, at, scores)
