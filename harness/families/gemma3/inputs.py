"""The pixels of an image as torch tensors, for either side."""

from __future__ import annotations

import torch

from harness.families.gemma3.prompts import crops
from harness.prompts.prompt import Item


def pixels(item: Item, image_tokens: int) -> torch.Tensor:
    """Pixels (crops, 3, side, side) float32, each crop of ``image_tokens`` soft tokens."""
    return torch.from_numpy(crops(item, image_tokens))


def rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows of pixels (crops, 3, height, width) as patches (crops * height, 3 * width), and their places (crop, row)."""
    count, channels, height, width = values.shape
    patches = values.permute(0, 2, 1, 3).reshape(count * height, channels * width)
    return patches, torch.cartesian_prod(torch.arange(count), torch.arange(height))
