"""A spec is built to the same bytes by every process, whole or not at all."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.drivers.messages import Build
from harness.drivers.process import Driver
from harness.errors import DriverFailure
from harness.families.gemma4.presets import preset
from harness.prompts.model_spec import ModelSpec
from tests.drivers.processes import within

TINY = preset("tiny")


def build(driver: Driver, spec: ModelSpec, cache: Path) -> Path:
    return Path(driver.ask(Build(spec, cache), timeout=120).checkpoint)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.mark.slow
def test_two_processes_build_the_same_bytes(tmp_path: Path, builders) -> None:
    one, two = (build(builders(), TINY, tmp_path / name) for name in ("one", "two"))
    assert "model.safetensors" in contents(one)
    assert one.name == two.name
    assert contents(one) == contents(two)


def test_a_checkpoint_that_is_there_is_not_built_again(tmp_path: Path, builders) -> None:
    driver = builders()
    first = build(driver, TINY, tmp_path)
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert build(driver, TINY, tmp_path) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before
    other = build(driver, TINY.with_(seed=1), tmp_path)
    assert other != first
    assert contents(other)["model.safetensors"] != contents(first)["model.safetensors"]


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_nothing_that_is_taken_for_whole(tmp_path: Path, builders) -> None:
    spec = TINY.with_(vocab=16384, hidden=512)
    driver, cache = builders(), tmp_path / "cache"
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build, driver, spec, cache)
        assert within(60, lambda: cache.exists() and any(cache.iterdir()))
        driver.kill()
        with pytest.raises(DriverFailure, match=r"died .signal SIGKILL."):
            building.result()
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == []
    again, elsewhere = build(builders(), spec, cache), build(builders(), spec, tmp_path / "elsewhere")
    assert contents(again) == contents(elsewhere)


def test_a_config_is_one_that_every_release_of_transformers_reads(tmp_path: Path, builders) -> None:
    driver = builders()
    for name, key_heads in (("tiny", None), ("26b-a4b-small", 1)):
        config = json.loads((build(driver, preset(name), tmp_path) / "config.json").read_text())
        text, vision = config["text_config"], config["vision_config"]
        assert (text["global_head_dim"], text["num_global_key_value_heads"]) == (128, key_heads)
        assert "per_layer_config" not in text and "rope_parameters" not in vision
        assert "axial" not in json.dumps(config)


def test_a_shape_with_drawn_weights_is_built_as_its_config_says(tmp_path: Path, builders) -> None:
    from safetensors import safe_open

    from harness.families.checkpoint import model

    spec = model("e2b-small", "dummy", 10).with_(double_wide=True)
    folder = build(builders(), spec, tmp_path)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    assert text["use_double_wide_mlp"] and text["num_kv_shared_layers"] == 5 and len(text["layer_types"]) == 10
    with safe_open(folder / "model.safetensors", "np") as file:
        widths = [
            file.get_slice(f"model.language_model.layers.{layer}.mlp.up_proj.weight").get_shape()[0] for layer in (4, 5)
        ]
        kinds = {
            file.get_slice(f"model.language_model.layers.{layer}.mlp.up_proj.weight").get_dtype() for layer in (4, 5)
        }
    assert widths == [spec.intermediate, 2 * spec.intermediate] and kinds == {"BF16"}
