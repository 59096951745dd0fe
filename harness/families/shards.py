"""Writing a checkpoint that need not fit into memory: tensor by tensor, into files of safetensors of a bounded size."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from harness.families.content import INDEX, SINGLE

if TYPE_CHECKING:
    import torch

LARGEST = 2 << 30
"""Bytes of the tensors of one file, but for a tensor that has more alone."""
DRAWING = 8
"""Tensors that are made at the same time, at most."""


def write(
    directory: Path,
    shapes: Mapping[str, Sequence[int]],
    dtype: torch.dtype,
    make: Callable[[str], torch.Tensor],
    largest: int = LARGEST,
) -> None:
    """Write tensors of these ``shapes`` and of ``dtype``, each as ``make(name)`` gives it, in any order and in several threads; a
    file of them is in memory at a time. Several files have an index beside them, as transformers writes it."""
    from safetensors.torch import save_file

    parts = list(_parts(shapes, dtype.itemsize, largest))
    names = [SINGLE]
    if len(parts) > 1:
        names = [f"model-{number:05d}-of-{len(parts):05d}.safetensors" for number in range(1, len(parts) + 1)]
        total = dtype.itemsize * sum(map(math.prod, shapes.values()))
        places = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (directory / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    with ThreadPoolExecutor(min(DRAWING, os.cpu_count() or 1)) as pool:
        for name, part in zip(names, parts, strict=True):
            made = dict(zip(part, pool.map(lambda one: make(one).to(dtype).contiguous(), part), strict=True))
            save_file(made, directory / name, metadata={"format": "pt"})


def _parts(shapes: Mapping[str, Sequence[int]], size: int, largest: int) -> Iterator[list[str]]:
    """The names of each file's tensors; ``size`` is that of an element in bytes."""
    part: list[str] = []
    taken = 0
    for name in sorted(shapes):
        needed = size * math.prod(shapes[name])
        if part and taken + needed > largest:
            yield part
            part, taken = [], 0
        part.append(name)
        taken += needed
    yield part
