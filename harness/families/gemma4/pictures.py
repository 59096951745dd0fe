"""How many soft tokens both processors will make of a picture."""

from __future__ import annotations

import math

from harness.errors import UsageError
from harness.families.gemma4.config import Pictures


def soft_tokens(field: str, name: str, size: tuple[int, int], cut: Pictures) -> int:
    """How many soft tokens the picture becomes: the largest sides of whole soft tokens that keep its shape and make at most
    as many as the processor allows (transformers `image_processing_gemma4.py`, `get_aspect_ratio_preserving_size`).

    Raises:
        UsageError: a side is shorter than that of one soft token, or it is so long and thin that the processor refuses it.
    """
    width, height = size
    side = cut.patch_size * cut.pooling_kernel_size
    most = cut.max_soft_tokens
    if min(size) < side:
        raise UsageError(
            field,
            name,
            f"a picture with sides of at least the {side} pixels of one soft token; {width} x {height} has less",
        )
    factor = math.sqrt(most * side**2 / (width * height))
    rows, columns = int(factor * height / side), int(factor * width / side)
    if not rows and columns:
        rows, columns = 1, min(width // height, most)
    elif not columns and rows:
        rows, columns = min(height // width, most), 1
    if not 1 <= rows * columns <= most:
        raise UsageError(
            field,
            name,
            f"a picture that can be cut into 1 to {most} squares of {side} pixels; {width} x {height} cannot",
        )
    return rows * columns
