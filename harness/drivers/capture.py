"""A capture: what one driver saw of one prompt, as `capture.safetensors` and `capture.json` in a directory.

Tensors, over N positions and V tokens of vocabulary; logits are of the positions `logits_at`, P of them:

====================  ======================================================================
``logits``            (P, V) float32
``truth.logits``      (P, V) float32, reference only: in the higher precision
``again.logits``      (P, V) float32, reference only: with another attention implementation
``mask.<layer>``      (KV head groups, N, ceil(N / 8)) uint8: the observed mask, bit-packed
``declared.<layer>``  (N, ceil(N / 8)) uint8, reference only: the side's own mask tensor
``attention.<layer>`` (N, heads * head size) float32: the attention output before o_proj, if it has
                      at most `ATTENTION_VALUES` values
``hidden.<layer>``    (N, hidden size) float32: the hidden state after the layer
``observed``          (N,) uint8, serving only: 0 where a position was not computed, since the
                      prefix cache had it; its rows are 0 in all other tensors
====================  ======================================================================

`capture.json` has ``token_ids``, ``layers`` (index, type, window, ranges), ``logits_at``, ``versions``, and, apart
from everything that must be the same in every run, ``seconds``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.errors import UsageError

SCHEMA = 3
ATTENTION_VALUES = 1 << 18


@dataclass(frozen=True)
class Capture:
    """A capture read from disk."""

    directory: Path

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        from safetensors.numpy import load_file

        return load_file(self.directory / "capture.safetensors")

    @cached_property
    def facts(self) -> dict:
        facts = json.loads((self.directory / "capture.json").read_text())
        if facts["schema"] != SCHEMA:
            raise ValueError(f"{self.directory}: schema {facts['schema']}, this harness reads {SCHEMA}")
        return facts

    @property
    def tokens(self) -> int:
        return len(self.facts["token_ids"])

    def masks(self, layer: int) -> np.ndarray:
        """The observed mask of a layer, bit-packed uint8 (KV head groups, N, ceil(N / 8))."""
        return self.tensors[f"mask.{layer}"]

    def unpack(self, mask: np.ndarray) -> np.ndarray:
        """A bit-packed mask (..., ceil(N / 8)) as boolean (..., N)."""
        return np.unpackbits(mask, axis=-1, count=self.tokens).astype(bool)

    @property
    def observed(self) -> np.ndarray:
        """Which positions were computed, boolean (N,)."""
        seen = self.tensors.get("observed")
        return np.ones(self.tokens, dtype=bool) if seen is None else seen.astype(bool)

    def declared(self, layer: int) -> np.ndarray | None:
        """The mask tensor that the side itself declared, bit-packed uint8 (N, ceil(N / 8)), if it has one."""
        return self.tensors.get(f"declared.{layer}")


def chosen(positions: Sequence[int], tokens: int) -> list[int]:
    """Which of a prompt's positions are meant, in order: negative ones from the end, none for all.

    Raises:
        UsageError: there is no such position.
    """
    for position in positions:
        if not -tokens <= position < tokens:
            raise UsageError("position", position, f"the prompt has {tokens} tokens")
    return sorted({position % tokens for position in positions}) or list(range(tokens))


def write(directory: Path, tensors: dict, facts: dict) -> None:
    """Write a capture; `capture.json` comes last and marks it whole. ``tensors`` are CPU torch tensors."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    beside = directory / "capture.safetensors.part"
    save_file({name: tensor.contiguous() for name, tensor in sorted(tensors.items())}, beside)
    os.replace(beside, directory / "capture.safetensors")
    beside = directory / "capture.json.part"
    beside.write_text(json.dumps({"schema": SCHEMA, **facts}, indent=1, sort_keys=True))
    os.replace(beside, directory / "capture.json")
