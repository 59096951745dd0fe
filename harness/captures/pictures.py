"""What a processor made of pictures, for the facts of a capture."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch

from harness.captures.facts import PictureFacts

LEVELS = np.float32(255)


def processed(
    pixels: Sequence[torch.Tensor], positions: Sequence[torch.Tensor], dtype: torch.dtype, *, levels: bool = False
) -> tuple[PictureFacts, ...]:
    """What a processor made of pictures, for the facts of a capture: of each the number of ``patches`` (rows of ``pixels``
    that have a place; the others are padding), of ``values`` in one, and ``digests`` of each patch in ``dtype`` with its place.
    With ``levels`` values count as the level of 8 bits that they are next to: frames of videos have no others, and the sides scale
    them in two ways, vLLM as pictures and transformers as a video, which differ in the last bit of float32."""
    found = []
    for values, places in zip(pixels, positions, strict=True):
        real = (places >= 0).all(-1)
        rows = values[real].to(dtype).float().cpu().numpy() + 0.0
        rows = np.rint(rows * LEVELS) if levels else rows
        where = places[real].cpu().numpy().astype("<i8")
        digests = [zlib.crc32(row.tobytes() + place.tobytes()) for row, place in zip(rows, where, strict=True)]
        found.append(PictureFacts(len(rows), int(values.shape[-1]), tuple(digests)))
    return tuple(found)
