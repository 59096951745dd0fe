"""The items of a prompt as vLLM's processor would hand them over."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.families.base import ServingSide
from harness.prompts.prompt import Prompt


@dataclass(frozen=True)
class Placed:
    """By modality the ``items`` (`MultiModalKwargsItems`), their ``hashes`` and their ``places`` (`PlaceholderRange`)."""

    items: Any
    hashes: dict[str, list[str]]
    places: dict[str, list]


def placed(prompt: Prompt, together: Sequence[Prompt], family: ServingSide, config: Any, salt: str | None) -> Placed:
    """The items of ``prompt``, with images filled up to the largest of those ``together``; ``salt`` is part of their hashes."""
    from vllm.multimodal.inputs import PlaceholderRange

    hashes: dict[str, list[str]] = {}
    places: dict[str, list] = {}
    for item in prompt.items:
        embedded = None
        if len(item.embedded) != item.length:
            embedded = torch.zeros(item.length, dtype=torch.bool)
            embedded[list(item.embedded)] = True
        places.setdefault(item.modality, []).append(PlaceholderRange(item.offset, item.length, embedded))
        content = zlib.crc32(f"{item.seed} {item.soft} {item.frames}".encode())
        known_as = f"{item.modality}-{content:08x}-{item.soft}x{item.frames}" + (f"-{salt}" if salt else "")
        hashes.setdefault(item.modality, []).append(known_as)
    return Placed(family.items(prompt, together, config), hashes, places)
