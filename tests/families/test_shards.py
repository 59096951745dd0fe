"""A checkpoint that is written in parts has every tensor once, and an index that says where."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.families import shards
from harness.references.transformers.stored import Stored

SHAPES = {"a": (3, 5), "b": (7,), "c": (40, 2), "d": ()}


def made(name: str) -> torch.Tensor:
    count = math.prod(SHAPES[name])
    return torch.arange(count, dtype=torch.float32).reshape(SHAPES[name]) + ord(name)


@pytest.mark.parametrize(("largest", "files"), [(1 << 20, 1), (60, 3), (1, 4)])
def test_every_tensor_is_there_once(tmp_path: Path, largest: int, files: int) -> None:
    shards.write(tmp_path, SHAPES, torch.bfloat16, made, largest)
    found = [load_file(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    assert len(found) == files and sorted(name for one in found for name in one) == sorted(SHAPES)
    whole = {name: tensor for one in found for name, tensor in one.items()}
    assert all(torch.equal(tensor, made(name).to(torch.bfloat16)) for name, tensor in whole.items())
    if files > 1:
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert all(name in load_file(tmp_path / file) for name, file in index["weight_map"].items())
        assert index["metadata"]["total_size"] == 2 * sum(map(math.prod, SHAPES.values()))
    stored = Stored(str(tmp_path))
    assert set(stored.places) == set(SHAPES)
    assert all(torch.equal(stored.read(name), tensor) for name, tensor in whole.items())
