"""Whether a checkpoint that exists already has weights that can be loaded: files of safetensors that are whole.

Pickled weights are not looked at: to load them is to run what they say.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

from harness.errors import UsageError
from harness.families.reading import json_of

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
LONGEST_INDEX = 64 << 20
"""Bytes."""
LONGEST_HEADER = 100_000_000
"""Bytes of the longest header that safetensors itself reads."""


def check(name: str, directory: Path) -> None:
    """Look at the headers of the weights of the checkpoint ``name``.

    Raises:
        UsageError: there are none, or a file of them is damaged or missing.
    """
    for file in _files(name, directory):
        path = directory / file
        try:
            size = _size(name, path)
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                if size < 8 or length > min(LONGEST_HEADER, size - 8):
                    raise UsageError("model", name, f"its {file} is not a file of safetensors, or cut short")
                header = json.loads(stream.read(length))
                needed = max(
                    (tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"), default=0
                )
        except OSError as error:
            raise UsageError("model", name, f"its {file} cannot be read: {error.strerror or error}") from None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError("model", name, f"its {file} has a header that is not one of safetensors") from None
        if not isinstance(needed, int) or size != 8 + length + needed:
            raise UsageError(
                "model", name, f"its {file} has {size} bytes, and its header tells of {8 + length}+{needed}"
            )


def _files(name: str, directory: Path) -> list[str]:
    if (directory / INDEX).exists() and not (directory / SINGLE).exists():
        places = json_of(name, directory / INDEX, LONGEST_INDEX).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(place, str) for place in places.values()):
            raise UsageError("model", name, f"its {INDEX} has no weight_map from tensors to files")
        files = sorted(set(places.values()))
        for file in files:
            if Path(file).name != file:
                raise UsageError("model", name, f"its {INDEX} names {file!r}, which is not a file beside it")
        return files
    return [SINGLE]


def _size(name: str, path: Path) -> int:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UsageError("model", name, f"its {path.name} is not a file")
    return found.st_size
