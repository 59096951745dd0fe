"""The tensors of a checkpoint's files, each read when it is asked for and held by nothing else.

`safetensors` maps a whole file into memory, writable as torch wants it: of a file of 60 GB all pages that were read stay until
it is closed, and a process that may not have so much data cannot open it. Here what is read is what is taken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.errors import CheckpointError
from harness.families.content import INDEX, SINGLE

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""By safetensors' names."""


@dataclass(frozen=True)
class Place:
    """Where a tensor is: in the bytes of ``file`` from ``start`` on."""

    file: Path
    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Stored:
    """The tensors of the checkpoint ``source``, a directory or an id of the hub that is on this machine, by their names.

    Raises:
        CheckpointError: a file has a dtype that is none of `DTYPES`.
        OSError: a file cannot be read.
    """

    def __init__(self, source: str) -> None:
        self.places: dict[str, Place] = {}
        for file in _files(_directory(source)):
            self.places |= _places(source, file)

    def read(self, name: str) -> torch.Tensor:
        """The tensor of this name, on the CPU."""
        place = self.places[name]
        tensor = torch.empty(place.shape, dtype=place.dtype)
        left = memoryview(tensor.reshape(-1).view(torch.uint8).numpy())
        with place.file.open("rb") as stream:
            stream.seek(place.start)
            while left:
                read = stream.readinto(left)
                if not read:
                    raise CheckpointError(f"{place.file}: it ends within {name}")
                left = left[read:]
        return tensor


def _directory(source: str) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, local_files_only=True))


def _files(directory: Path) -> list[Path]:
    if (directory / SINGLE).exists():
        return [directory / SINGLE]
    places = json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"]
    return [directory / name for name in sorted(set(places.values()))]


def _places(source: str, file: Path) -> dict[str, Place]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    places = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        if tensor["dtype"] not in DTYPES:
            raise CheckpointError(f"{source}: {name} is stored as {tensor['dtype']}, which is not read layer by layer")
        start = 8 + length + tensor["data_offsets"][0]
        places[name] = Place(file, start, DTYPES[tensor["dtype"]], tuple(tensor["shape"]))
    return places
