"""The forward passes of a reference: each of one of its models over the same prompts, with its own attention and precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import torch

Around = Callable[[], AbstractContextManager]
"""Makes a context anew each time: a pass that is run layer by layer enters it for each layer."""


@dataclass(frozen=True)
class Pass:
    """A forward pass whose logits are called ``name``: ``forward`` calls ``model``, ``within`` contexts that decide how it
    computes, in their order; ``watched`` records what its decoder layers do, or changes it."""

    name: str
    model: torch.nn.Module
    forward: Callable[[], torch.Tensor]
    within: Sequence[Around] = ()
    watched: Around = nullcontext

    def entered(self) -> ExitStack:
        """All of ``within``, entered."""
        with ExitStack() as stack:
            for around in self.within:
                stack.enter_context(around())
            return stack.pop_all()


def run(passes: Sequence[Pass]) -> list[torch.Tensor]:
    """The logits of each pass, one after another, of models that are loaded whole."""
    logits = []
    for one in passes:
        with one.entered(), one.watched():
            logits.append(one.forward())
    return logits
