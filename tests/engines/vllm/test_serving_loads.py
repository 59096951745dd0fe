"""The weights that serving holds are compared with the reference's, tensor by tensor, however they are fused and sharded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from harness.captures.read import Capture
from harness.compare.comparison import judge
from harness.compare.loaded import Weights
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.messages import LoadEngine, RunEngine
from harness.drivers.process import Driver
from harness.families.registry import preset, prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.session import Pair, Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

LAYOUT = Layout.parse("t3 i2 t2")
V1 = Setting.of(runner="v1")


def observed(session: Session, model: str, setting: Setting) -> Pair:
    spec = preset(model)
    return session.observe(spec, setting, [prompt_for(LAYOUT, spec)])[0]


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("tiny-audio", "e2b-small", "26b-a4b-small", "31b-small")
        ),
    ],
)
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_tensor_is_found_and_equal(session: Session, name: str, ranks: int) -> None:
    pair = observed(session, name, V1.with_(tensor_parallel=ranks))
    held = pair.reference.facts.loaded.weights
    found = Weights.of(pair.reference, pair.serving)
    assert found == Weights([], [], [], len(held)) and len(held) > 40


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.slow
def test_so_it_is_in_16_bits(session: Session, dtype: str) -> None:
    pair = observed(session, "tiny", V1.with_(dtype=dtype, backend="cpu"))
    assert Weights.of(pair.reference, pair.serving).compared == len(pair.reference.facts.loaded.weights)


def test_a_serving_side_that_loads_wrongly_is_named_by_tensor(session: Session, tmp_path: Path) -> None:
    spec = preset("tiny")
    pair = observed(session, "tiny", V1)
    environment = V1.engine.environment(session.platform)
    arguments = V1.engine.engine_arguments(spec, V1.scenario, session.platform)
    driver = Driver("tests.engines.vllm.wrong_loader", "serving", session.serving_python, tmp_path / "log", environment)
    try:
        driver.ask(
            LoadEngine(session.checkpoint(spec), V1.engine.backend, V1.engine.runner, session.platform, arguments),
            timeout=600,
        )
        (stored,) = driver.ask(RunEngine((prompt_for(LAYOUT, spec),), tmp_path), timeout=600).captures
    finally:
        driver.close()
    wrong = Capture(stored.directory, stored.place)
    layers = "model.language_model.layers"
    expected = [
        f"{layers}.0.self_attn.k_proj.weight",
        f"{layers}.0.self_attn.v_proj.weight",
        f"{layers}.1.mlp.down_proj.weight",
    ]
    assert Weights.of(pair.reference, wrong).other == expected
    texts = {"case": "case", "title": "", "reproduce": ""}
    sides = {"reference": pair.reference, "serving": wrong}
    found = judge(**texts, **sides, layout=LAYOUT, spec=spec, setting=V1, declared=None)
    assert found.verdict is Verdict.DIVERGED
    assert found.diagnosis.startswith("serving holds other weights than the checkpoint in 3 of ")


def test_a_case_after_one_that_could_not_be_loaded_is_judged_as_before(session: Session, tmp_path: Path) -> None:
    spec, case = preset("tiny"), Case("case", "", str(LAYOUT))
    damaged = tmp_path / "damaged"
    shutil.copytree(session.checkpoint(spec), damaged)
    tensors = load_file(damaged / "model.safetensors")
    gone = tensors.pop("model.language_model.layers.0.self_attn.q_proj.weight")
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    before = verify(session, case, V1, spec=spec)
    other = verify(session, Case("case", "", text="w40 w50"), V1, spec=spec.with_(source=str(damaged)))
    session.forget_references()
    after = verify(session, case, V1, spec=spec)
    assert (
        gone.numel()
        and other.verdict is Verdict.ERROR
        and "1 missing: model.language_model.layers.0.self_attn.q_proj.weight" in other.diagnosis
    )
    assert before.verdict is after.verdict is Verdict.PASS
    assert before.logits == after.logits
