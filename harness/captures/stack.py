"""The files of a stack of captures, as `harness.captures.read` describes them. NumPy and safetensors are all that this needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from harness.captures.facts import SCHEMA, Facts, PromptFacts
from harness.files import typed


def shared(tensors: Mapping[str, Any], equal: Callable[[Any, Any], bool]) -> dict[str, int]:
    """How many KV head groups each of those masks has that is the same in all of them. Tensors are those of NumPy or torch, and
    ``equal`` compares two."""
    return {
        name: tensor.shape[1]
        for name, tensor in tensors.items()
        if name.startswith("mask.")
        and tensor.shape[1] > 1
        and all(equal(tensor[:, 0], tensor[:, group]) for group in range(1, tensor.shape[1]))
    }


def save(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    halves: Collection[str] = (),
    groups: Mapping[str, int] | None = None,
) -> None:
    """Write the arrays of a stack to a file, whole or not at all. The uint16 of those named in ``halves`` are the bits of
    bfloat16, which NumPy does not know; masks named in ``groups`` have one KV head group that stands for as many."""
    stored = {
        name: np.ascontiguousarray(array, np.float32 if array.dtype == np.float64 else None)
        for name, array in sorted(arrays.items())
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    told = {"bfloat16": sorted(halves), "kv_head_groups": dict(sorted((groups or {}).items()))}
    save_file(stored, beside, metadata={"stored": json.dumps(told)})
    beside.replace(path)


def write(
    directory: Path,
    arrays: Mapping[str, np.ndarray],
    facts: Facts,
    prompts: Sequence[PromptFacts],
    halves: Collection[str] = (),
) -> None:
    """Write a stack of captures; ``halves`` as `save` says."""
    groups = shared(arrays, np.array_equal)
    kept = {name: array[:, :1] if name in groups else array for name, array in arrays.items()}
    save(directory / "capture.safetensors", kept, halves, groups)
    write_facts(directory, facts, prompts)


def write_facts(directory: Path, facts: Facts, prompts: Sequence[PromptFacts]) -> None:
    """Write `capture.json`; it comes last and marks a stack whole."""
    beside = directory / "capture.json.part"
    beside.write_text(typed.dumps({"schema": SCHEMA, "prompts": list(prompts), **vars(facts)}, sort_keys=True))
    beside.replace(directory / "capture.json")
