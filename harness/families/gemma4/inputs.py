"""The arrays of a prompt as torch tensors, for either side."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch

from harness.captures.facts import PictureFacts
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


def padded(tensors: list[torch.Tensor], fill: float, length: int = 0) -> torch.Tensor:
    """Stack along a new first dimension, filling up the first dimension of each to the longest, or to ``length``."""
    longest = max(length, *(len(tensor) for tensor in tensors))
    filled = [
        torch.cat([t, torch.full((longest - len(t), *t.shape[1:]), fill, dtype=t.dtype)]) for t in tensors
    ]
    return torch.stack(filled)


def processed(pixels: Sequence[torch.Tensor], positions: Sequence[torch.Tensor], dtype: torch.dtype) -> tuple[PictureFacts, ...]:
    """What a processor made of pictures, for the facts of a capture: of each the number of ``patches`` (rows of ``pixels``
    that have a place; the others are padding), of ``values`` in one, and ``digests`` of each patch in ``dtype`` with its place."""
    found = []
    for values, places in zip(pixels, positions, strict=True):
        real = (places >= 0).all(-1)
        rows = values[real].to(dtype).float().cpu().numpy() + 0.0
        where = places[real].cpu().numpy().astype("<i8")
        digests = [zlib.crc32(row.tobytes() + place.tobytes()) for row, place in zip(rows, where, strict=True)]
        found.append(PictureFacts(len(rows), int(values.shape[-1]), tuple(digests)))
    return tuple(found)
