"""No tensor of a checkpoint is left at a default, or at a value that a fault would not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.captures.read import Capture
from harness.drivers.messages import Build, LoadReference, ReferenceModel, RunReference
from harness.drivers.process import Driver
from harness.families.gemma4.presets import PRESETS
from harness.families.gemma4.prompts import prompt_for
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec

SMALL = [name for name in PRESETS if not name.endswith("-shape")]
CLIPS = ("input_min", "input_max", "output_min", "output_max")


def built(driver: Driver, spec: ModelSpec, cache: Path) -> Path:
    return Path(driver.ask(Build(spec, cache), timeout=120).checkpoint)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, module_builder: Driver) -> dict[str, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return {name: built(module_builder, PRESETS[name], cache) for name in SMALL}


@pytest.mark.parametrize("name", SMALL)
def test_every_tensor_is_drawn(checkpoints: dict[str, Path], name: str) -> None:
    for key, tensor in load_file(checkpoints[name] / "model.safetensors").items():
        assert np.isfinite(tensor).all(), key
        assert not (tensor == 0).any(), key
        if tensor.ndim < 2:
            assert (np.abs(tensor - 1) > 0.05).all() or key.endswith((".bias", "std_bias", *CLIPS)), key
            assert len(np.unique(tensor)) == tensor.size, key
        else:
            rows = tensor.reshape(len(tensor), -1)
            assert len(np.unique(rows, axis=0)) == len(rows), key


@pytest.mark.parametrize("name", SMALL)
def test_what_the_format_has_is_there(checkpoints: dict[str, Path], name: str) -> None:
    spec, keys = PRESETS[name], set(load_file(checkpoints[name] / "model.safetensors"))
    layers = range(len(spec.layers))
    assert {f"model.language_model.layers.{i}.layer_scalar" for i in layers} <= keys
    assert {f"model.language_model.layers.{i}.self_attn.k_proj.weight" for i in layers} <= keys
    assert spec.standardize == ("model.vision_tower.std_bias" in keys)
    attention = "model.vision_tower.encoder.layers.0.self_attn"
    assert spec.clipped == ({f"{attention}.q_proj.{clip}" for clip in CLIPS} <= keys)
    assert spec.audio == any("audio_tower" in key for key in keys)
    assert (spec.audio and spec.clipped) == any("audio_tower" in key and key.endswith(CLIPS) for key in keys)


@pytest.mark.parametrize("name", ["tiny", "e4b-small", "26b-a4b-small"])
def test_logits_reach_their_soft_cap(
    checkpoints: dict[str, Path], name: str, module_builder: Driver, tmp_path: Path
) -> None:
    model = ReferenceModel(str(checkpoints[name]), "eager", "float32")
    module_builder.ask(LoadReference(model, "cpu"), timeout=120)
    prompt = prompt_for(Layout.parse("t3 i9 t20"), PRESETS[name])
    (stored,) = module_builder.ask(RunReference(model, (prompt,), tmp_path), timeout=120).captures
    tensors = Capture(stored.directory, stored.place).tensors
    logits, floor = tensors["truth.logits"], np.abs(tensors["logits"] - tensors["truth.logits"]).max()
    cap = PRESETS[name].softcap
    capped = cap * np.tanh(1.0)
    assert np.median(np.abs(logits).max(axis=-1)) > 0.5 * cap and np.abs(logits).max() > capped
    assert np.abs(logits).max() < cap and floor < 1e-4 * logits.std()
