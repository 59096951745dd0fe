"""Whether a checkpoint that exists already has weights that can be loaded: files of safetensors that are whole.

Pickled weights are not looked at: to load them is to run what they say.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

from harness.errors import UsageError
from harness.families.content import INDEX, SINGLE
from harness.families.reading import json_of
from harness.text import quoted

LONGEST_INDEX = 64 << 20
"""Bytes."""
LONGEST_HEADER = 100_000_000
"""Bytes of the longest header that safetensors itself reads."""


def check(name: str, directory: Path) -> None:
    """Look at the headers of the weights of the checkpoint ``name``.

    Raises:
        UsageError: there are none, a file of them is damaged or missing, or a tensor is in more than one of those that one side or
            the other reads.
    """
    placed = _placed(name, directory) if (directory / INDEX).exists() else {}
    files = _files(name, directory, placed)
    _check_no_others(name, directory, placed, files)
    place: dict[str, str] = {}
    for file in files:
        path = directory / file
        try:
            size = _size(name, path)
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                if size < 8 or length > min(LONGEST_HEADER, size - 8):
                    raise UsageError("model", name, f"its {file} is not a file of safetensors, or cut short")
                header = json.loads(stream.read(length), object_pairs_hook=_once)
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
        for tensor in header.keys() - {"__metadata__"}:
            if tensor in place:
                raise UsageError(
                    "model", name, f"its tensor {quoted(tensor)} is in {place[tensor]} and in {file}; in one of them"
                )
            place[tensor] = file
    for tensor, file in placed.items() if files != [SINGLE] else ():
        if place.get(tensor) != file:
            there = place.get(tensor, "none of the files")
            raise UsageError("model", name, f"its {INDEX} has {quoted(tensor)} in {file}, and it is in {there}")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _check_no_others(name: str, directory: Path, placed: dict[str, str], files: list[str]) -> None:
    """Without an index vLLM reads every file of safetensors, with one those that it names; transformers takes `SINGLE` first."""
    if placed and files == [SINGLE] and set(placed.values()) != {SINGLE}:
        raise UsageError("model", name, f"it has {SINGLE} and an {INDEX} of other files; one of the two")
    others = [] if placed else sorted(path.name for path in directory.glob("*.safetensors") if path.name not in files)
    if others:
        raise UsageError(
            "model", name, f"it has {quoted(others[0])} beside {SINGLE}, which vLLM would load too; take it out"
        )


def _files(name: str, directory: Path, placed: dict[str, str]) -> list[str]:
    if placed and not (directory / SINGLE).exists():
        files = sorted(set(placed.values()))
        for file in files:
            if Path(file).name != file:
                raise UsageError("model", name, f"its {INDEX} names {file!r}, which is not a file beside it")
        return files
    return [SINGLE]


def _placed(name: str, directory: Path) -> dict[str, str]:
    """The file of each tensor, by the index."""
    places = json_of(name, directory / INDEX, LONGEST_INDEX).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(place, str) for place in places.values()):
        raise UsageError("model", name, f"its {INDEX} has no weight_map from tensors to files")
    return places


def _size(name: str, path: Path) -> int:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UsageError("model", name, f"its {path.name} is not a file")
    return found.st_size
