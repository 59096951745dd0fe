"""What the builders of synthetic checkpoints draw with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FAR, NEAR = 0.5, 0.1
"""How far from 1 a factor is: between e**0.1 and e**0.5, or their inverses."""


def stored(model) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of what a checkpoint of ``model`` holds; what is tied is given once."""
    saved = set(model.state_dict())
    yield from model.named_parameters()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name in saved)


def factors(noise, generator):
    """Factors of either side of 1, none of them near it."""
    import torch

    return torch.exp(noise.sign() * (NEAR + (FAR - NEAR) * torch.rand(noise.shape, generator=generator)))
