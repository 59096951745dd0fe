"""Forward passes layer by layer: each decoder layer is loaded once, in both precisions, every pass goes through it, and it goes.

Transformers' own forward is called twice for a pass. The first time decoder layers do nothing but note what they are called with,
which depends on the hidden states in nothing but these. Then each layer itself is called with that and the hidden states
of the one before. The second time the last one gives what came of them all, for the norm and the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from harness.references.transformers.offloading import Offloaded
from harness.references.transformers.passes import Pass

HIDDEN = "hidden_states"
"""What transformers calls the first argument of a decoder layer."""


class _Noted(Exception):
    """The last decoder layer was about to be run."""


@dataclass
class _Under:
    """A pass under way: what each of its ``layers`` is called with, and the ``hidden`` states after the last one that was run."""

    asked: Pass
    layers: Sequence[torch.nn.Module]
    calls: list[tuple[tuple, dict[str, Any]]] = field(default_factory=list)
    hidden: Any = None

    def begin(self) -> None:
        """Note what the layers are called with."""

        def note(index: int, *args: Any, **given: Any) -> Any:
            hidden = args[0] if args else given.pop(HIDDEN)
            self.calls.append((args[1:], given))
            if index == 0:
                self.hidden = hidden
            if index == len(self.layers) - 1:
                raise _Noted
            return hidden

        with self.asked.entered(), _replaced(self.layers, note):
            try:
                self.asked.forward()
            except _Noted:
                return
        raise RuntimeError("transformers' decoder layers were not called in their order")

    def step(self, index: int) -> None:
        """Run a layer, whose weights are there."""
        args, given = self.calls[index]
        self.calls[index] = ((), {})
        with self.asked.entered(), self.asked.watched():
            self.hidden = self.layers[index](self.hidden, *args, **given)

    def end(self) -> torch.Tensor:
        """The logits."""

        def last(index: int, *args: Any, **given: Any) -> Any:
            return self.hidden

        with self.asked.entered(), _replaced(self.layers, last):
            return self.asked.forward()


def run(passes: Sequence[Pass], offloaded: Offloaded, told: Callable[[str], None]) -> list[torch.Tensor]:
    """As `passes.run`, of models whose decoder layers are not loaded; ``told`` hears how far it is."""
    under = [_Under(one, offloaded.layers_of(one.model)) for one in passes]
    for one in under:
        one.begin()
    for index in range(len(offloaded)):
        with offloaded.layer(index):
            for one in under:
                one.step(index)
        told(f"the reference has run {index + 1} of {len(offloaded)} layers")
    return [one.end() for one in under]


@contextmanager
def _replaced(layers: Sequence[torch.nn.Module], instead: Callable) -> Iterator[None]:
    """Let each layer's forward be ``instead(index, ...)``."""
    for index, layer in enumerate(layers):
        layer.forward = partial(instead, index)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
