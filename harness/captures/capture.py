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
``mask.<layer>``      (KV head groups, N, ceil(N / 8)) uint8: the observed mask, bit-packed
``surplus.<layer>``   (KV head groups, N) int32, serving only, where some row has any: how many keys a
                      row counts in its softmax beside those of its mask
``declared.<layer>``  (N, ceil(N / 8)) uint8, reference only: the side's own mask tensor
``attention.<layer>`` (N, heads * head size) float: the attention output before o_proj, if it has
                      at most `ATTENTION_VALUES` values
``hidden.<layer>``    (N, hidden size) float: the hidden state after the layer
``observed``          (N,) uint8, serving only: 0 where a position was not computed, since the
                      prefix cache had it; its rows are 0 in all other tensors
====================  ======================================================================

Floats are stored in the dtype that the side computed them in (float64 as float32) and read as float32. The entry ``stored``
of the file's metadata has, as JSON, ``bfloat16``: the tensors whose bits are stored as uint16, since numpy knows no
bfloat16; and ``kv_head_groups``: how many groups a mask has of which one is stored, since all are equal.

`capture.json` has ``token_ids``, ``layers`` (index, type, window, ranges), ``steps`` (serving only: the first and last
position of each step that computed some), ``logits_at``, ``versions``, ``loaded``
(``checkpoint``: `harness.families.gemma4.content`; ``weights``: by name the number of elements and the checksum that the side holds in
the serving dtype, see `harness.drivers.checksum`), ``head`` (soft cap, scale, vocabulary), ``after`` (tokens that are
``suppressed`` or ``changed`` after the model), and, apart
from everything that must be the same in every run, ``seconds``; what differs between the prompts of a stack stands in
``prompts``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.errors import UsageError

SCHEMA = 5
ATTENTION_VALUES = 1 << 18
PINNED = 1 << 28
"""Bytes of the largest tensor that is copied from a GPU through page-locked memory."""


@dataclass(frozen=True)
class Capture:
    """The capture of the prompt at ``place`` of a stack, read from disk."""

    directory: Path
    place: int = 0

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        from safetensors import safe_open

        _ = self.facts  # refuses a stack that is not whole or of another schema
        with safe_open(self.directory / "capture.safetensors", framework="numpy") as file:
            stored = json.loads(file.metadata()["stored"])
            tensors = {name: file.get_slice(name)[self.place] for name in file.keys()}  # noqa: SIM118, it is no dict
        for name in stored["bfloat16"]:
            tensors[name] = (tensors[name].astype(np.uint32) << 16).view(np.float32)
        for name, groups in stored["kv_head_groups"].items():
            tensors[name] = np.broadcast_to(tensors[name], (groups, *tensors[name].shape[1:]))
        return {name: t.astype(np.float32) if t.dtype == np.float16 else t for name, t in tensors.items()}

    @cached_property
    def facts(self) -> dict:
        facts = json.loads((self.directory / "capture.json").read_text())
        if facts["schema"] != SCHEMA:
            raise ValueError(f"{self.directory}: schema {facts['schema']}, this harness reads {SCHEMA}")
        own = facts.pop("prompts")[self.place]
        return {**facts, **own}

    @property
    def tokens(self) -> int:
        return len(self.facts["token_ids"])

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


def to_host(tensors: dict) -> Callable[[], dict]:
    """Begin to copy torch tensors to the CPU; what is returned waits for the copies of all of them and returns them."""
    import torch

    def copied(tensor):
        if not tensor.is_cuda or tensor.nbytes > PINNED:
            return tensor.cpu()
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)

    copies = {name: copied(tensor) for name, tensor in tensors.items()}
    copied_all = torch.cuda.Event() if any(tensor.is_cuda for tensor in tensors.values()) else None
    if copied_all:
        copied_all.record()

    def arrived() -> dict:
        if copied_all:
            copied_all.synchronize()
        return copies

    return arrived


def save(path: Path, tensors: dict) -> None:
    """Write the CPU torch tensors of a stack to a file, whole or not at all."""
    import torch
    from safetensors.torch import save_file

    halves, groups, stored = [], {}, {}
    for name, tensor in sorted(tensors.items()):
        if tensor.dtype == torch.bfloat16:
            halves.append(name)
            tensor = tensor.view(torch.uint16)
        elif tensor.dtype == torch.float64:
            tensor = tensor.to(torch.float32)
        elif name.startswith("mask.") and tensor.shape[1] > 1 and torch.equal(tensor, tensor[:, :1].expand_as(tensor)):
            groups[name] = tensor.shape[1]
            tensor = tensor[:, :1]
        stored[name] = tensor.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    save_file(stored, beside, metadata={"stored": json.dumps({"bfloat16": halves, "kv_head_groups": groups})})
    os.replace(beside, path)


def save_part(path: Path, tensors: dict) -> None:
    """Write what one of several ranks saw, which `join` reads."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def join(directory: Path, ranks: int) -> None:
    """Make one stack of the parts of all ranks: masks side by side by KV head group, attention outputs by channel; the
    rest is the same in every rank."""
    import torch
    from safetensors.torch import load_file

    paths = [directory / f"rank{rank}.safetensors" for rank in range(ranks)]
    parts = [load_file(path) for path in paths]
    along = {"mask": 1, "surplus": 1, "attention": -1}
    for name in {name for part in parts for name in part if name.startswith("surplus.")}:
        for part in parts:
            if name not in part:
                shape = part[name.replace("surplus", "mask")].shape[:-1]
                part[name] = torch.zeros(shape, dtype=torch.int32)
    whole = {}
    for name, tensor in parts[0].items():
        dim = along.get(name.split(".")[0])
        whole[name] = tensor if dim is None else torch.cat([part[name] for part in parts], dim=dim)
    save(directory / "capture.safetensors", whole)
    for path in paths:
        path.unlink()


def write(directory: Path, tensors: dict, facts: dict, prompts: list[dict]) -> None:
    """Write a stack of captures. ``tensors`` are CPU torch tensors, ``facts`` hold for all prompts, ``prompts`` has what
    is each one's own."""
    save(directory / "capture.safetensors", tensors)
    write_facts(directory, facts, prompts)


def write_facts(directory: Path, facts: dict, prompts: list[dict]) -> None:
    """Write `capture.json`; it comes last and marks a stack whole."""
    beside = directory / "capture.json.part"
    beside.write_text(json.dumps({"schema": SCHEMA, **facts, "prompts": prompts}, sort_keys=True))
    os.replace(beside, directory / "capture.json")
