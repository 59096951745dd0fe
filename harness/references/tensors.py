"""The tensors of a checkpoint, for a reference that has a place of its own for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from harness.errors import CheckpointError, UsageError
from harness.text import listed

INDEX = "model.safetensors.index.json"
TOWERS = tuple(
    f"model.{name}." for name in ("vision_tower", "embed_vision", "vision_embedder", "audio_tower", "embed_audio")
)
"""Not loaded by a reference that is given soft tokens: they are as transformers' towers make them."""


def stored(directory: Path, framework: str) -> Iterator[tuple[str, Any]]:
    """The name of every tensor of a checkpoint, and the tensor as safetensors gives it to a ``framework``."""
    if (directory / INDEX).exists() and not (directory / "model.safetensors").exists():
        files = sorted(set(json.loads((directory / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    for file in files:
        with safe_open(directory / file, framework=framework) as opened:
            for name in opened.keys():  # noqa: SIM118, it is no dict
                yield name, opened.get_tensor(name)


def refuse(checkpoint: str, whose: str, wrong: Mapping[str, Sequence[str]]) -> None:
    """Refuse a checkpoint of whose tensors any are ``wrong`` for the model ``whose``: what is wrong, and which tensors.

    Raises:
        CheckpointError: some are; one line names them.
    """
    words = [f"{len(found)} {what}: {listed(found)}" for what, found in wrong.items() if found]
    if words:
        raise CheckpointError(f"{checkpoint}: its tensors are not those of {whose} model; {'; '.join(words)}")


def check_fields(reference: str, config: Mapping[str, Any], only: Mapping[str, Sequence[Any]]) -> None:
    """Refuse fields of a config.json for which a reference has no option; the first of ``only`` stands for one that is absent.

    Raises:
        UsageError: one has another value; the line names it.
    """
    for name, allowed in only.items():
        if (value := config.get(name, allowed[0])) not in allowed:
            raise refused(reference, name, value, " or ".join(map(str, allowed)))


def refused(reference: str, field: str, value: object, allowed: str) -> UsageError:
    """The error that names a field of a config.json, its value, and what the model of a ``reference`` has."""
    return UsageError(f"reference {reference}, config {field}", value, f"the {reference} model has {allowed} only")
