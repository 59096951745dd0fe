"""Every tensor of a preset has a place in the official model, or is of a tower; and nothing is put in two places."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from harness.drivers.messages import Build
from harness.drivers.process import Driver
from harness.families.gemma4.presets import PRESETS
from harness.references.official import config
from harness.references.official.names import Sizes, place
from harness.references.tensors import TOWERS

NARROW = {"hidden": 64, "intermediate": 64, "vocab": 256}
"""The presets of published shapes are built narrow here: their tensors have the same names and other sizes."""


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    log = tmp_path_factory.mktemp("logs") / "reference.log"
    driver = Driver("harness.references.transformers.driver", "reference", sys.executable, log, {"HF_HUB_OFFLINE": "1"})
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def checkpoints(builder: Driver, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    cache = tmp_path_factory.mktemp("cache")
    specs = [spec.with_(**NARROW) if name.endswith("-shape") else spec for name, spec in PRESETS.items()]
    return {spec.name: Path(builder.ask(Build(spec, cache), timeout=120).checkpoint) for spec in specs}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_tensor_has_one_place_and_comes_back_from_it(preset: str, checkpoints: dict[str, Path]) -> None:
    text = json.loads((checkpoints[preset] / "config.json").read_text())["text_config"]
    config.fields(text)
    sizes = Sizes.of(text)
    taken = set()
    with safe_open(checkpoints[preset] / "model.safetensors", framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            if name.startswith(TOWERS):
                continue
            found, tensor = place(name, sizes), file.get_tensor(name)
            assert found is not None, name
            assert (found.path, found.part) not in taken, name
            taken.add((found.path, found.part))
            put = found.put(tensor)
            whole = put if found.part is None else np.stack([put, put])
            np.testing.assert_array_equal(found.taken(whole, tensor.shape), tensor)
    assert {part for path, part in taken if path[-2] == "kv_einsum"} <= {0, 1}


@pytest.mark.parametrize(
    "name", ["model.language_model.layers.0.self_attn.sinks", "lm_head.weight", "model.layers.0.x"]
)
def test_a_tensor_that_the_official_model_does_not_have_has_no_place(name: str) -> None:
    assert place(name, SIZES) is None


SIZES = Sizes.of(
    {
        "layer_types": ["sliding_attention", "full_attention"],
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "global_head_dim": 128,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "hidden_size": 64,
    }
)


def test_where_keys_are_values_a_full_layer_has_no_place_for_values() -> None:
    assert place("model.language_model.layers.1.self_attn.v_proj.weight", SIZES) is None
    keys = place("model.language_model.layers.1.self_attn.k_proj.weight", SIZES)
    assert keys and (keys.path, keys.part) == (("layer_1", "attn", "k_einsum", "w"), None)
