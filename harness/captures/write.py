"""Writing captures out of torch tensors, as `harness.captures.read` describes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from harness.captures import stack
from harness.captures.facts import Facts, PromptFacts

PINNED = 1 << 28
"""Bytes of the largest tensor that is copied from a GPU through page-locked memory."""
OBSERVED = "observed"

Tensors = dict[str, torch.Tensor]


def to_host(tensors: Tensors) -> Callable[[], Tensors]:
    """Begin to copy torch tensors to the CPU; what is returned waits for the copies of all of them and returns them."""

    def copied(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_cuda or tensor.nbytes > PINNED:
            return tensor.cpu()
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)

    copies = {name: copied(tensor) for name, tensor in tensors.items()}
    copied_all = torch.cuda.Event() if any(tensor.is_cuda for tensor in tensors.values()) else None
    if copied_all:
        copied_all.record()

    def arrived() -> Tensors:
        if copied_all:
            copied_all.synchronize()
        return copies

    return arrived


def save(path: Path, tensors: Tensors) -> None:
    """Write the CPU torch tensors of a stack to a file, whole or not at all.

    What is compared and laid out in a row is so by torch: NumPy's temporary arrays halved what an engine on a GPU verified in a
    minute (docs/measurements.md).
    """
    shared = stack.shared(tensors, torch.equal)
    halves = [name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16]
    rows = {name: (tensor[:, :1] if name in shared else tensor).contiguous() for name, tensor in tensors.items()}
    arrays = {name: (row.view(torch.uint16) if name in halves else row).numpy() for name, row in rows.items()}
    stack.save(path, arrays, halves, shared)


def save_part(path: Path, tensors: Tensors) -> None:
    """Write what one of several ranks saw, which `join` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def join(directory: Path, ranks: int) -> None:
    """Make one stack of the parts of all ranks: each layer's tensors are of the ranks that have it, masks side by side by KV head
    group, attention outputs by channel; logits were run where they were in some rank, since only the last of a pipeline has any. A
    layer was observed where all ranks that have it observed it, and the stack where some layer was; the rest is the same in every
    rank that has it."""
    paths = [directory / f"rank{rank}.safetensors" for rank in range(ranks)]
    parts = [load_file(path) for path in paths]
    along = {"mask": 1, "surplus": 1, "attention": -1}
    for name in {name for part in parts for name in part if name.startswith("surplus.")}:
        mask = name.replace("surplus", "mask")
        for part in parts:
            if name not in part and mask in part:
                part[name] = torch.zeros(part[mask].shape[:-1], dtype=torch.int32)
    whole = {}
    for name in {name: None for part in parts for name in part}:
        dim, having = along.get(name.split(".")[0]), [part[name] for part in parts if name in part]
        whole[name] = having[0] if dim is None else torch.cat(having, dim=dim)
    if "run.logits" in whole:
        whole["run.logits"] = torch.stack([part["run.logits"] for part in parts if "run.logits" in part]).amax(dim=0)
    save(directory / "capture.safetensors", {**whole, **_observed(parts)})
    for path in paths:
        path.unlink()


def _observed(parts: Sequence[Tensors]) -> Tensors:
    """Where the stack was observed, and each layer that was observed elsewhere."""
    saying = [part for part in parts if OBSERVED in part]
    if not saying:
        return {}
    whole = torch.stack([part[OBSERVED] for part in saying]).amax(dim=0)
    found = {OBSERVED: whole}
    for mask in {name for part in saying for name in part if name.startswith("mask.")}:
        own = torch.stack([part[OBSERVED] for part in saying if mask in part]).amin(dim=0)
        if not torch.equal(own, whole):
            found[mask.replace("mask", OBSERVED)] = own
    return found


def write(directory: Path, tensors: Tensors, facts: Facts, prompts: Sequence[PromptFacts]) -> None:
    """Write a stack of captures; ``tensors`` are on the CPU."""
    save(directory / "capture.safetensors", tensors)
    stack.write_facts(directory, facts, prompts)
