"""A checkpoint is loaded whole, exactly as it is, or not at all."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.captures.read import Capture
from harness.compare.setting import Setting
from harness.drivers.messages import Build, LoadReference, RunReference
from harness.drivers.process import Driver
from harness.errors import DriverFailure, FailureKind
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.verification.reference_pool import reference_model

SPEC = preset("tiny")
QUERY, VALUE = (f"model.language_model.layers.0.self_attn.{name}_proj.weight" for name in "qv")
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    started = Driver(
        "tests.drivers.truth_fails",
        "reference",
        sys.executable,
        tmp_path_factory.mktemp("logs") / "log",
        {"HF_HUB_OFFLINE": "1"},
    )
    yield started
    started.close()


@pytest.fixture(scope="module")
def whole(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    return Path(driver.ask(Build(SPEC, cache), timeout=120).checkpoint)


def changed(whole: Path, folder: Path, change: Callable[[Tensors], object]) -> Path:
    """A copy of the checkpoint after a change of its tensors."""
    shutil.copytree(whole, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def load(driver: Driver, checkpoint: Path) -> None:
    driver.ask(LoadReference(reference_model(str(checkpoint), Setting()), "cpu"), timeout=120)


def run(driver: Driver, checkpoint: Path, out: Path) -> Capture:
    prompts = (prompt_for(Layout.parse("t3 i2 t2"), SPEC),)
    (stored,) = driver.ask(
        RunReference(reference_model(str(checkpoint), Setting()), prompts, out), timeout=120
    ).captures
    return Capture(stored.directory, stored.place)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(QUERY), f"1 missing: {QUERY}"),
        (
            lambda tensors: [
                tensors.pop(name) for name in list(tensors) if "language_model" in name and ".mlp." in name
            ],
            "6 missing: model.language_model.layers.0.mlp.down_proj.weight, ",
        ),
        (lambda tensors: tensors.update({f"{QUERY}s": tensors[QUERY] + 0}), f"1 unexpected: {QUERY}s"),
        (
            lambda tensors: tensors.update({QUERY: tensors[QUERY][:8] + 0}),
            f"1 of another shape: {QUERY} 8x64 instead of 256x64",
        ),
    ],
    ids=["missing", "many missing", "unexpected", "another shape"],
)
def test_tensors_that_are_not_those_of_the_model_are_named_in_one_line(
    driver: Driver, whole: Path, tmp_path: Path, change: Callable[[Tensors], object], said: str
) -> None:
    with pytest.raises(DriverFailure) as failure:
        load(driver, changed(whole, tmp_path / "other", change))
    assert failure.value.kind is FailureKind.CHECKPOINT
    assert said in str(failure.value) and "\n" not in str(failure.value)


def test_what_neither_side_has_a_place_for_is_passed_over(driver: Driver, whole: Path, tmp_path: Path) -> None:
    """Published checkpoints may have a table of Gemma 3n's, and an audio tower that the configuration does not name."""
    names = (
        "model.embed_vision.embedding.weight",
        "model.audio_tower.layers.0.norm_out.weight",
        "model.embed_audio.embedding_projection.weight",
    )
    load(
        driver,
        changed(whole, tmp_path / "published", lambda tensors: tensors.update({name: torch.ones(4) for name in names})),
    )


def test_after_a_load_that_failed_nothing_is_loaded(driver: Driver, whole: Path, tmp_path: Path) -> None:
    load(driver, whole)
    before = run(driver, whole, tmp_path / "before")
    other = changed(whole, tmp_path / "too-large", lambda tensors: tensors[QUERY].neg_())
    with pytest.raises(DriverFailure, match="no room for"):
        load(driver, other)
    for checkpoint in (whole, other):
        with pytest.raises(DriverFailure, match="was asked for, and nothing is loaded"):
            run(driver, checkpoint, tmp_path / "never")
    load(driver, whole)
    again = run(driver, whole, tmp_path / "again")
    assert before.facts.loaded == again.facts.loaded
    assert (before.tensors["logits"] == again.tensors["logits"]).all()


def test_a_capture_says_what_it_was_made_from(driver: Driver, whole: Path, tmp_path: Path) -> None:
    other = changed(whole, tmp_path / "other", lambda tensors: tensors[VALUE].view(-1)[7:8].add_(1))
    captures = []
    for checkpoint in (whole, other):
        load(driver, checkpoint)
        captures.append(run(driver, checkpoint, tmp_path / f"capture-{checkpoint.name}").facts.loaded)
    assert captures[0].checkpoint != captures[1].checkpoint
    weights = [one.weights for one in captures]
    assert [name for name in weights[0] if weights[0][name] != weights[1][name]] == [VALUE]
    with pytest.raises(DriverFailure, match=r"was asked for, and .*other eager float32 is loaded"):
        run(driver, whole, tmp_path / "never")


def test_weights_that_are_no_numbers_are_named(driver: Driver, whole: Path, tmp_path: Path) -> None:
    damaged = changed(whole, tmp_path / "nan", lambda tensors: tensors[VALUE].view(-1)[0:1].fill_(float("nan")))
    load(driver, damaged)
    assert run(driver, damaged, tmp_path / "capture").facts.loaded.not_finite == (VALUE,)
