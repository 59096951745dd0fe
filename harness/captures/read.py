"""A capture: what one driver saw of one prompt. The captures of prompts of one length that were run together are stacked
in one directory, as `capture.safetensors` and `capture.json`.

Tensors of one prompt, over N positions and V tokens of vocabulary; logits are of the positions `logits_at`, P of them.
On disk each has the prompts of the stack as its first dimension.

====================  ======================================================================
``logits``            (P, V) float
``truth.logits``      (P, V) float, reference only: in the higher precision
``again.logits``      (P, V) float, reference only, where two samples of the noise floor were
                      asked for: with another attention implementation
``routed.logits``     (P, V) float, reference only, with experts: the truth with ties of routers
                      decided the other way
``tf32.logits``       (P, V) float, reference only, on a GPU in float32: with products in TF32
``cached.logits``     (C, V) float, reference only, of a prompt that is continued or run with a cache: in
                      the serving dtype from the reference's own cache, at the last C of the positions
                      `logits_at`: all, or those from the prompt's last token on
``cached.mask.<layer>``  (KV head groups, N, ceil(N / 8)) uint8, reference only, of a prompt that was run with
                      a cache: the mask that was observed then
``mask.<layer>``      (KV head groups, N, ceil(N / 8)) uint8: the observed mask, bit-packed
``surplus.<layer>``   (KV head groups, N) int32, serving only, where some row has any: how many keys a
                      row counts in its softmax beside those of its mask
``declared.<layer>``  (N, ceil(N / 8)) uint8, reference only: the side's own mask tensor
``attention.<layer>`` (N, heads * head size) float: the attention output before o_proj, if it has
                      at most `ATTENTION_VALUES` values
``hidden.<layer>``    (N, hidden size) float: the hidden state after the layer
``observed``          (N,) uint8, serving only: 0 where a position was not computed, since the
                      prefix cache had it, or where it was computed without calling hooks;
                      its rows are 0 in all other tensors but logits
``observed.<layer>``  (N,) uint8, serving only, of a layer that was observed elsewhere than `observed` says, in
                      another rank of a pipeline; `observed` has the positions of any layer then
``told``              (P, V) uint8, serving only, where a server's API told the log-probabilities
                      of some tokens alone: 1 for those; the others are 0 in ``logits``
``run.<layer>``       (N,) uint8, serving only, of a layer that computed some rows alone, as layers that
                      share keys do with kv_sharing_fast_prefill: 1 for those; the other rows are 0
``run.logits``        (N,) uint8, serving only, where layers may compute some rows alone: 1 for the
                      positions `logits_at` that have logits
``computed``          (N,) uint8, serving only, where it is not ``observed``: 0 where a position was
                      not computed
====================  ======================================================================

Floats are stored in the dtype that the side computed them in (float64 as float32) and read as float32. The entry ``stored``
of the file's metadata has, as JSON, ``bfloat16``: the tensors whose bits are stored as uint16, since numpy knows no
bfloat16; and ``kv_head_groups``: how many groups a mask has of which one is stored, since all are equal.

`capture.json` has the fields of `harness.captures.facts.Facts`, ``schema``, and ``prompts``: a `PromptFacts` of each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.captures.facts import SCHEMA, Facts, PromptFacts
from harness.files import typed


@dataclass(frozen=True)
class Capture:
    """The capture of the prompt at ``place`` of a stack, read from disk."""

    directory: Path
    place: int = 0

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        from safetensors import safe_open

        _ = self._written  # refuses a stack that is not whole or of another schema
        with safe_open(self.directory / "capture.safetensors", framework="numpy") as file:
            stored = json.loads(file.metadata()["stored"])
            tensors = {name: file.get_slice(name)[self.place] for name in file.keys()}  # noqa: SIM118, it is no dict
        for name in stored["bfloat16"]:
            tensors[name] = (tensors[name].astype(np.uint32) << 16).view(np.float32)
        for name, groups in stored["kv_head_groups"].items():
            tensors[name] = np.broadcast_to(tensors[name], (groups, *tensors[name].shape[1:]))
        return {name: t.astype(np.float32) if t.dtype == np.float16 else t for name, t in tensors.items()}

    @property
    def facts(self) -> Facts:
        """What holds for the whole stack.

        Raises:
            FileNotFoundError: the stack is not whole.
            ValueError: it has another schema.
        """
        return self._written[0]

    @property
    def prompt(self) -> PromptFacts:
        """What is this prompt's own; raises as `facts` does."""
        return self._written[1]

    @cached_property
    def _written(self) -> tuple[Facts, PromptFacts]:
        path = self.directory / "capture.json"
        facts, prompts = _stack_facts(path, path.stat().st_mtime_ns)
        return facts, typed.read(PromptFacts, prompts[self.place])

    @property
    def tokens(self) -> int:
        return len(self.prompt.token_ids)

    def masks(self, layer: int) -> np.ndarray:
        """The observed mask of a layer, bit-packed uint8 (KV head groups, N, ceil(N / 8))."""
        return self.tensors[f"mask.{layer}"]

    def surplus(self, layer: int) -> np.ndarray:
        """How many keys each row of a layer counts beside those of its mask, int (KV head groups, N)."""
        found = self.tensors.get(f"surplus.{layer}")
        return np.zeros(self.masks(layer).shape[:2], dtype=np.int32) if found is None else found

    def unpack(self, mask: np.ndarray) -> np.ndarray:
        """A bit-packed mask (..., ceil(N / 8)) as boolean (..., N)."""
        return np.unpackbits(mask, axis=-1, count=self.tokens).astype(bool)

    @property
    def observed(self) -> np.ndarray:
        """Which positions were computed and observed in some layer, boolean (N,)."""
        seen = self.tensors.get("observed")
        return np.ones(self.tokens, dtype=bool) if seen is None else seen.astype(bool)

    @property
    def observed_in_all(self) -> np.ndarray:
        """Which positions were computed and observed in every layer, boolean (N,)."""
        own = [tensor.astype(bool) for name, tensor in self.tensors.items() if name.startswith("observed.")]
        return np.logical_and.reduce([self.observed, *own])

    @property
    def computed(self) -> np.ndarray:
        """Which positions were computed, observed or not, boolean (N,)."""
        found = self.tensors.get("computed")
        return self.observed if found is None else found.astype(bool)

    @property
    def answered(self) -> np.ndarray:
        """Which of the positions `logits_at` have logits, boolean (N,): those that every layer computed."""
        found = self.tensors.get("run.logits")
        return self.computed if found is None else self.computed & found.astype(bool)

    def rows(self, layer: int) -> np.ndarray:
        """Which positions a layer computed and was observed at, boolean (N,)."""
        own = self.tensors.get(f"observed.{layer}")
        observed = self.observed if own is None else own.astype(bool)
        found = self.tensors.get(f"run.{layer}")
        return observed if found is None else observed & found.astype(bool)

    def declared(self, layer: int) -> np.ndarray | None:
        """The mask tensor that the side itself declared, bit-packed uint8 (N, ceil(N / 8)), if it has one."""
        return self.tensors.get(f"declared.{layer}")


@lru_cache(maxsize=4)
def _stack_facts(path: Path, written_at: int) -> tuple[Facts, list[dict[str, Any]]]:
    """What a file that was written then has of its stack and of each prompt: the prompts of a stack are compared one after
    another, and their file is parsed once."""
    found = json.loads(path.read_text())
    schema, prompts = found.pop("schema"), found.pop("prompts")
    if schema != SCHEMA:
        raise ValueError(f"{path.parent}: schema {schema}, this harness reads {SCHEMA}")
    return typed.read(Facts, found), prompts
