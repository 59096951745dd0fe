"""Writing captures, as `harness.captures.read` describes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from harness.captures.facts import SCHEMA, Facts, PromptFacts
from harness.files import typed

PINNED = 1 << 28
"""Bytes of the largest tensor that is copied from a GPU through page-locked memory."""

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
    """Write the CPU torch tensors of a stack to a file, whole or not at all."""
    halves: list[str] = []
    groups: dict[str, int] = {}
    stored: Tensors = {}
    for name, tensor in sorted(tensors.items()):
        if tensor.dtype == torch.bfloat16:
            halves.append(name)
            kept = tensor.view(torch.uint16)
        elif tensor.dtype == torch.float64:
            kept = tensor.to(torch.float32)
        elif name.startswith("mask.") and tensor.shape[1] > 1 and torch.equal(tensor, tensor[:, :1].expand_as(tensor)):
            groups[name] = tensor.shape[1]
            kept = tensor[:, :1]
        else:
            kept = tensor
        stored[name] = kept.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    save_file(stored, beside, metadata={"stored": json.dumps({"bfloat16": halves, "kv_head_groups": groups})})
    beside.replace(path)


def save_part(path: Path, tensors: Tensors) -> None:
    """Write what one of several ranks saw, which `join` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def join(directory: Path, ranks: int) -> None:
    """Make one stack of the parts of all ranks: masks side by side by KV head group, attention outputs by channel; the
    rest is the same in every rank."""
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


def write(directory: Path, tensors: Tensors, facts: Facts, prompts: Sequence[PromptFacts]) -> None:
    """Write a stack of captures; ``tensors`` are on the CPU."""
    save(directory / "capture.safetensors", tensors)
    write_facts(directory, facts, prompts)


def write_facts(directory: Path, facts: Facts, prompts: Sequence[PromptFacts]) -> None:
    """Write `capture.json`; it comes last and marks a stack whole."""
    beside = directory / "capture.json.part"
    beside.write_text(typed.dumps({"schema": SCHEMA, "prompts": list(prompts), **vars(facts)}, sort_keys=True))
    beside.replace(directory / "capture.json")
