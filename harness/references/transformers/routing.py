"""Mixture of experts: which experts a token goes to is decided by rounding where two of them score almost alike.

Then serving and the reference may each choose well and differ by far more than they would round. How far, is measured:
the truth is run once more with those choices made the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

REACH = 6.0
"""How many times the median error of the distance of two scores a distance may be to count as a tie: 4 standard deviations
of a normal distribution, whose median is 0.67 of one."""


def routers(model, kind: type | None) -> list:
    """The routers of a model, which are of this ``kind``, in the order of its layers; none in a dense one."""
    return [module for module in model.modules() if isinstance(module, kind)] if kind else []


@contextmanager
def recorded(routers: list, scores: list[torch.Tensor]) -> Iterator[None]:
    """Add to ``scores`` those (tokens, experts) that each router gives, as they are made."""
    with _hooked(routers, [lambda made: scores.append(made.flatten(0, -2))] * len(routers)):
        yield


@contextmanager
def swapped(routers: list, exact: Sequence[torch.Tensor], rounded: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let each router score the last expert that it takes and the first that it does not the other way round, where that is
    a tie: their distance is within `REACH` times the median of what rounding changes it by.

    ``exact`` and ``rounded`` are what the routers gave in the higher precision and in the serving dtype; of a router they have to
    be there when it is called.
    """

    def swap(made: torch.Tensor, place: int, taken: int) -> torch.Tensor:
        return otherwise(made, taken, reach(exact[place], rounded[place], taken))

    chosen = [router.config.top_k_experts for router in routers]
    with _hooked(routers, [partial(swap, place=place, taken=taken) for place, taken in enumerate(chosen)]):
        yield


def reach(exact: torch.Tensor, rounded: torch.Tensor, taken: int) -> torch.Tensor:
    """How near the last score that is taken and the first that is not have to be to count as a tie, by the scores (tokens, experts)
    of the higher precision and of the serving dtype."""
    return REACH * _moved(exact, rounded, taken).median()


def _moved(exact: torch.Tensor, rounded: torch.Tensor, taken: int) -> torch.Tensor:
    """By how much rounding changes the distance of the two scores (tokens,)."""
    places = exact.topk(taken + 1, dim=-1).indices[:, -2:]
    return (exact.gather(-1, places).diff() - rounded.to(exact.dtype).gather(-1, places).diff()).abs()[:, 0]


def otherwise(scores: torch.Tensor, taken: int, within: torch.Tensor) -> torch.Tensor:
    """The scores (tokens, experts) with those two the other way round, where they are a tie."""
    best = scores.topk(taken + 1, dim=-1)
    values, places = best.values[..., -2:], best.indices[..., -2:]
    tie = values[..., :1] - values[..., 1:] <= within
    return torch.where(tie, scores.scatter(-1, places, values.flip(-1)), scores)


@contextmanager
def _hooked(routers: list, each: Sequence[Callable[[torch.Tensor], torch.Tensor | None]]) -> Iterator[None]:
    """Hand each router's scores to a function of its own; what it returns takes their place."""
    hooks = [
        router.proj.register_forward_hook(lambda module, args, output, act=act: act(output))
        for router, act in zip(routers, each, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
