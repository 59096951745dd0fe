"""A reference that is loaded layer by layer computes what one that is loaded whole does, in less memory than its checkpoint has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from harness.captures.read import Capture
from harness.drivers.messages import Build, Forced, LoadReference, ReferenceModel, RunReference
from harness.drivers.process import Driver
from harness.errors import DriverFailure, FailureKind
from harness.families.checkpoint import model
from harness.families.registry import continued, prompt_for
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec

Started = Callable[..., Driver]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Starts a driver, which is closed with the module."""
    drivers: list[Driver] = []

    def start(module: str = "harness.references.transformers.driver", **variables: str) -> Driver:
        log = tmp_path_factory.mktemp("logs") / "log"
        drivers.append(Driver(module, "reference", sys.executable, log, {"HF_HUB_OFFLINE": "1", **variables}))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()


@pytest.fixture(scope="module")
def driver(started: Started) -> Driver:
    return started()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def built(driver: Driver, spec: ModelSpec, cache: Path) -> ReferenceModel:
    return ReferenceModel(driver.ask(Build(spec, cache), timeout=300).checkpoint, "eager", "float32")


def run(driver: Driver, asked: ReferenceModel, spec: ModelSpec, layouts: list[str], out: Path) -> list[Capture]:
    driver.ask(LoadReference(asked, "cpu"), timeout=300)
    prompts = tuple(prompt_for(Layout.parse(layout), spec, seed) for seed, layout in enumerate(layouts))
    answer = driver.ask(RunReference(asked, prompts, out, samples=2), timeout=300)
    return [Capture(stored.directory, stored.place) for stored in answer.captures]


def assert_same(whole: Capture, by_layer: Capture) -> None:
    """Equal to the bit, in all but what they took."""
    assert set(whole.tensors) == set(by_layer.tensors)
    for name, tensor in whole.tensors.items():
        assert tensor.tobytes() == by_layer.tensors[name].tobytes(), name
    for field in fields(whole.facts):
        if field.name not in ("seconds", "memory"):
            assert getattr(whole.facts, field.name) == getattr(by_layer.facts, field.name), field.name
    assert whole.prompt == by_layer.prompt


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("deep", {"attention": "sdpa"}),
        ("tiny-audio", {}),
        ("26b-a4b-small", {"dtype": "float16", "kv_dtype": "fp8"}),
        ("e2b-small", {}),
    ],
)
def test_it_is_the_same_to_the_bit(name: str, changed: dict, driver: Driver, cache: Path, tmp_path: Path) -> None:
    """Weights are stored in bfloat16 and taken in another dtype: what is taken as it is stored lies where it does in the file, and
    a CPU adds up products in an order that depends on that."""
    spec = model(name, "dummy")
    asked = replace(built(driver, spec, cache), **changed)
    layouts = ["t3 i5 t4 i12 t3", "t9", *(["t2 a14 t3 i10 t2"] if spec.audio else [])]
    whole = run(driver, asked, spec, layouts, tmp_path / "whole")
    by_layer = run(driver, replace(asked, offload=True), spec, layouts, tmp_path / "by-layer")
    for pair in zip(whole, by_layer, strict=True):
        assert_same(*pair)
    assert by_layer[0].facts.memory["reference"] > 0


def test_masks_are_laid_over_it_too(driver: Driver, cache: Path, tmp_path: Path) -> None:
    spec = model("tiny", "dummy")
    asked = replace(built(driver, spec, cache), attention="sdpa")
    prompt = prompt_for(Layout.parse("t3 i5 t4"), spec)
    forced = Forced("causal", "everywhere", ((4, 8),), (5, 6))
    found = []
    for place, each in enumerate((asked, replace(asked, offload=True))):
        driver.ask(LoadReference(each, "cpu"), timeout=300)
        answer = driver.ask(RunReference(each, (prompt,), tmp_path / str(place), forced=forced), timeout=300)
        found.append(Capture(answer.captures[0].directory, 0))
    assert_same(*found)


def test_it_says_how_far_it_is(driver: Driver, cache: Path, tmp_path: Path) -> None:
    spec = model("tiny", "dummy")
    asked = replace(built(driver, spec, cache), offload=True)
    told: list[str] = []
    driver.ask(LoadReference(asked, "cpu"), timeout=300, told=told.append)
    prompt = prompt_for(Layout.parse("t5"), spec)
    driver.ask(RunReference(asked, (prompt,), tmp_path), timeout=300, told=told.append)
    assert told == [f"the reference has {what} {n} of 2 layers" for what in ("read", "run") for n in (1, 2)]


def test_a_prompt_that_is_continued_is_refused(driver: Driver, cache: Path, tmp_path: Path) -> None:
    spec = model("tiny", "dummy")
    asked = replace(built(driver, spec, cache), offload=True)
    driver.ask(LoadReference(asked, "cpu"), timeout=300)
    prompt = continued(prompt_for(Layout.parse("t5"), spec), spec, 2, 0)
    with pytest.raises(DriverFailure, match="not run layer by layer") as failure:
        driver.ask(RunReference(asked, (prompt,), tmp_path), timeout=300)
    assert failure.value.kind is FailureKind.UNSUPPORTED


def test_tensors_that_are_not_the_models_are_named(driver: Driver, cache: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    spec = model("tiny", "dummy")
    whole = Path(built(driver, spec, cache).checkpoint)
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(whole / "model.safetensors")
    query = "model.language_model.layers.0.self_attn.q_proj.weight"
    tensors["model.language_model.layers.7.extra"] = tensors.pop(query)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DriverFailure, match=f"1 missing: {query}; 1 unexpected: model.language_model.layers.7.extra"):
        driver.ask(LoadReference(ReferenceModel(str(tmp_path), "eager", "float32", offload=True), "cpu"), timeout=300)


LARGE = ModelSpec(
    "large", layers="sf" * 12, hidden=1024, intermediate=8192, vocab=4096, weight_std=0.07, dummy_of="large"
)
SIZE = 1_200_000_000
"""Bytes of it: 24 layers of 50 MB, in bfloat16."""
CAP = 1_100_000_000
"""Bytes of data that the driver may have; of them libraries take 400 MB."""


@pytest.mark.slow
def test_a_checkpoint_larger_than_memory_is_run(started: Started, driver: Driver, cache: Path, tmp_path: Path) -> None:
    asked = replace(built(driver, LARGE, cache), dtype="float16")
    assert sum(path.stat().st_size for path in Path(asked.checkpoint).glob("*.safetensors")) > SIZE > CAP
    capped = started("tests.drivers.capped", HARNESS_TEST_CAP=str(CAP))
    with pytest.raises(DriverFailure, match=r"(?i)memory") as failure:
        run(capped, asked, LARGE, ["t3 i12 t4"], tmp_path / "none")
    assert failure.value.kind is FailureKind.MEMORY
    by_layer = run(capped, replace(asked, offload=True), LARGE, ["t3 i12 t4", "t20"], tmp_path / "by-layer")
    assert by_layer[-1].facts.memory["reference"] < CAP
    whole = run(driver, asked, LARGE, ["t3 i12 t4", "t20"], tmp_path / "whole")
    for pair in zip(whole, by_layer, strict=True):
        assert_same(*pair)
    assert whole[-1].facts.memory["reference"] > 2 * SIZE
