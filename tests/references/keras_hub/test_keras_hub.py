"""keras-hub's Gemma 4 against transformers, both really run, on one checkpoint. Skipped without its environment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from harness.compare.agreement import between
from harness.compare.setting import Setting
from harness.drivers.messages import LoadReference, ReferenceModel
from harness.errors import DriverFailure, UsageError
from harness.families.gemma4.presets import PRESETS
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.references.adapter import KERAS_HUB
from harness.verification.session import Session
from tests.references.against import Both, captures, check_held, check_policy, environment, pairs_beyond

ENVIRONMENT = environment("keras-hub")
with_environment = [
    pytest.mark.keras_hub,
    pytest.mark.skipif(
        ENVIRONMENT is None, reason="keras-hub has no environment here; `harness environments make keras-hub`"
    ),
]
SHORT, LONG = Layout.parse("t3 i5 t4"), Layout.parse("t3 i7 t2 i12 t3")
LOADED = [name for name, spec in PRESETS.items() if not spec.unified]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    cache = tmp_path_factory.mktemp("cache")
    assert ENVIRONMENT is not None
    with Session(cache=cache) as first, Session(cache=cache, reference_python=str(ENVIRONMENT.python)) as second:
        yield first, second


def _marked(name: str) -> object:
    return pytest.param(name, marks=[*with_environment, *([] if name == "tiny" else [pytest.mark.slow])])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [_marked(name) for name in LOADED])
def test_it_masks_and_computes_as_transformers_but_lays_images_over_the_window(
    name: str, dtype: str, both: Both
) -> None:
    spec = preset(name)
    layouts = [SHORT, LONG]
    if name.endswith("-shape"):
        layouts = [Layout.parse(f"t3 i{spec.window + more} t4") for more in (0, 1, 96)]
    for layout, theirs, ours in captures(both, spec, dtype, layouts):
        more = pairs_beyond(layout, spec.window) if spec.bidirectional else 0
        for facts in theirs.facts.layers:
            sliding = facts.type == "sliding_attention"
            masks, keras = (side.unpack(side.masks(facts.index)) for side in (theirs, ours))
            assert not (masks & ~keras).any()
            assert [int(group.sum()) for group in keras & ~masks] == [more if sliding else 0] * len(masks)
        check_policy(layout, spec, ours, "unclamped" if spec.bidirectional else "causal")
        found = between(theirs, ours)
        if not more or dtype == "float32":  # what a few pairs change drowns in the noise of 16 bits
            assert found.within == (not more), found.ratio
        check_held(theirs, ours)


@pytest.mark.parametrize("whole", [pytest.param(True, marks=with_environment)])
def test_a_checkpoint_with_a_tensor_too_few_or_too_many_is_refused_by_name(
    whole: bool, both: Both, tmp_path: Path
) -> None:
    _, keras = both
    made = Path(keras.checkpoint(preset("tiny")))
    for part, said in (("missing", "q_norm"), ("unexpected", "sinks")):
        changed = tmp_path / part
        shutil.copytree(made, changed)
        tensors = load_file(changed / "model.safetensors")
        name = f"model.language_model.layers.0.self_attn.{said}"
        if part == "missing":
            del tensors[f"{name}.weight"]
        else:
            tensors[name] = tensors["model.language_model.norm.weight"]
        save_file(tensors, changed / "model.safetensors", metadata={"format": "pt"})
        driver = keras.references._start()
        try:
            with pytest.raises(DriverFailure, match=f"not those of keras-hub's model; 1 {part}: .*{said}"):
                driver.ask(LoadReference(ReferenceModel(str(changed), "eager", "float32"), "cpu"), timeout=120)
        finally:
            driver.close()


@pytest.mark.parametrize("layout", [pytest.param("I6 t3", marks=with_environment)])
def test_a_soft_token_that_it_would_lose_is_refused_in_one_line(layout: str, both: Both) -> None:
    _, keras = both
    with pytest.raises(DriverFailure, match="takes no soft token at position 0") as raised:
        keras.refer(preset("tiny"), Setting(), [prompt_for(Layout.parse(layout), preset("tiny"))])
    assert "\n" not in str(raised.value)


def test_a_model_that_it_does_not_load_is_refused_before_anything_starts() -> None:
    with pytest.raises(
        UsageError, match="model: '12b-small' is not allowed; one with towers with the reference keras-hub"
    ):
        KERAS_HUB.check("eager", "float32", "auto", preset("12b-small"))
    with pytest.raises(UsageError, match="model: 'gemma3-4b-small' is not allowed; one of gemma4 with the reference"):
        KERAS_HUB.check("eager", "float32", "auto", preset("gemma3-4b-small"))
