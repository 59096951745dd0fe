"""The arrays of a prompt as torch tensors, for either side."""

from __future__ import annotations

import torch

from harness.families.gemma4.prompts import mel_frames, patches
from harness.prompts.prompt import Item


def vision(item: Item) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (frames, patches, channels) float32 and (x, y) positions (frames, patches, 2)."""
    pixels, positions = patches(item)
    return torch.from_numpy(pixels), torch.from_numpy(positions)


def audio(item: Item) -> tuple[torch.Tensor, torch.Tensor]:
    """Mel features (frames, bins) float32 and their mask (frames,)."""
    features, mask = mel_frames(item)
    return torch.from_numpy(features), torch.from_numpy(mask)


def counted(mask: torch.Tensor) -> torch.Tensor:
    """The place (frames, 1) of each mel frame of a ``mask`` (frames,), -1 where there is none."""
    return torch.where(mask.bool(), torch.arange(len(mask), device=mask.device), -1)[:, None]


def padded(tensors: list[torch.Tensor], fill: float, length: int = 0) -> torch.Tensor:
    """Stack along a new first dimension, filling up the first dimension of each to the longest, or to ``length``."""
    longest = max(length, *(len(tensor) for tensor in tensors))
    filled = [torch.cat([t, torch.full((longest - len(t), *t.shape[1:]), fill, dtype=t.dtype)]) for t in tensors]
    return torch.stack(filled)
