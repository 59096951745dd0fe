"""The files of a stack of captures, as `harness.captures.read` describes them. NumPy and safetensors are all that this needs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from harness.captures.facts import SCHEMA, Facts, PromptFacts
from harness.files import typed


def save(path: Path, arrays: Mapping[str, np.ndarray], halves: Collection[str] = ()) -> None:
    """Write the arrays of a stack to a file, whole or not at all. The uint16 of those named in ``halves`` are the bits of
    bfloat16, which NumPy does not know."""
    groups: dict[str, int] = {}
    stored: dict[str, np.ndarray] = {}
    for name, array in sorted(arrays.items()):
        kept = array.astype(np.float32) if array.dtype == np.float64 else array
        if name.startswith("mask.") and kept.shape[1] > 1 and (kept == kept[:, :1]).all():
            groups[name] = kept.shape[1]
            kept = kept[:, :1]
        stored[name] = np.ascontiguousarray(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    told = {"bfloat16": sorted(halves), "kv_head_groups": groups}
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
    save(directory / "capture.safetensors", arrays, halves)
    write_facts(directory, facts, prompts)


def write_facts(directory: Path, facts: Facts, prompts: Sequence[PromptFacts]) -> None:
    """Write `capture.json`; it comes last and marks a stack whole."""
    beside = directory / "capture.json.part"
    beside.write_text(typed.dumps({"schema": SCHEMA, "prompts": list(prompts), **vars(facts)}, sort_keys=True))
    beside.replace(directory / "capture.json")
