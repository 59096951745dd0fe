"""A tensor has one place: both sides read the same values, or the checkpoint is refused by name before either is started."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import UsageError
from harness.families import weights

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
A, B = {"a": np.zeros(2, np.float32)}, {"b": np.ones(2, np.float32)}


def checkpoint(folder: Path, index: dict[str, str] | None, **files: dict) -> None:
    for name, tensors in files.items():
        save_file(tensors, folder / name)
    if index:
        (folder / weights.INDEX).write_text(json.dumps({"weight_map": index}))


@pytest.mark.parametrize(
    ("index", "files"),
    [
        (None, {weights.SINGLE: A}),
        ({"a": ONE, "b": TWO}, {ONE: A, TWO: B}),
        ({"a": weights.SINGLE}, {weights.SINGLE: A}),
        ({"a": ONE}, {ONE: A, TWO: B}),
    ],
    ids=["one file", "two", "one with an index", "one that the index leaves out"],
)
def test_each_tensor_in_one_place_is_taken(index: dict | None, files: dict, tmp_path: Path) -> None:
    checkpoint(tmp_path, index, **files)
    weights.check("mine", tmp_path)


@pytest.mark.parametrize(
    ("index", "files", "said"),
    [
        ({"a": ONE, "b": TWO}, {ONE: A, TWO: A | B}, f"'a' is in {ONE} and in {TWO}"),
        ({"a": ONE, "b": TWO}, {ONE: B, TWO: A}, f"'a' in {ONE}, and it is in {TWO}"),
        ({"a": ONE, "b": ONE}, {ONE: A}, f"'b' in {ONE}, and it is in none"),
        (None, {weights.SINGLE: A, "more.safetensors": A}, "'more.safetensors' beside"),
        ({"a": ONE}, {weights.SINGLE: A, ONE: A}, "one of the two"),
    ],
    ids=["in two", "exchanged", "in none", "a further file", "a file and an index of others"],
)
def test_a_tensor_in_two_places_is_refused(index: dict | None, files: dict, said: str, tmp_path: Path) -> None:
    checkpoint(tmp_path, index, **files)
    with pytest.raises(UsageError, match=said):
        weights.check("mine", tmp_path)


def test_a_header_that_names_a_tensor_twice_is_refused(tmp_path: Path) -> None:
    one = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = f"{{{one}, {one}}}".encode()
    (tmp_path / weights.SINGLE).write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UsageError, match="header that is not one of safetensors"):
        weights.check("mine", tmp_path)
