"""Observing does not change what the engine computes: not one bit of the logits that it returns."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from harness.compare.setting import Setting
from harness.drivers.messages import LoadEngine
from harness.drivers.process import Driver
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.verification.session import Session
from tests.engines.vllm.raw_logits import TOKENS, Generate, Generated

pytestmark = pytest.mark.engine

SPEC = preset("tiny")
LAYOUTS = ["t2 i5 t2 i12 t3", "t9", "t3 i9"]
RAW = (("logprobs_mode", "raw_logits"), ("max_logprobs", "-1"))


def generated(session: Session, setting: Setting, folder: Path, *, observe: bool) -> Generated:
    """What an engine of its own answers to `LAYOUTS` in one batch."""
    driver = Driver(
        "tests.engines.vllm.raw_logits",
        "serving",
        session.serving_python,
        folder / f"observe-{observe}.log",
        setting.engine.environment(session.platform),
    )
    prompts = tuple(prompt_for(Layout.parse(text), SPEC, seed=index) for index, text in enumerate(LAYOUTS))
    arguments = setting.engine.engine_arguments(SPEC, setting.scenario, session.platform)
    loading = LoadEngine(
        session.checkpoint(SPEC),
        setting.engine.backend,
        setting.engine.runner,
        session.platform,
        arguments,
        observe=observe,
    )
    try:
        driver.ask(loading, timeout=600)
        return driver.ask(Generate(prompts, folder / str(observe)), timeout=600)
    finally:
        driver.close()


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(Setting.of(runner="v1", arguments=RAW), id="v1"),
        pytest.param(Setting.of(runner="v2", arguments=RAW), id="v2", marks=pytest.mark.slow),
    ],
)
def test_the_logits_of_every_sampled_token_are_the_same_bits(
    session: Session, tmp_path: Path, setting: Setting
) -> None:
    session.checkpoint(SPEC)
    with ThreadPoolExecutor(2) as both:
        observed, plain = both.map(
            lambda observe: generated(session, setting, tmp_path, observe=observe), (True, False)
        )
    assert observed.tokens == plain.tokens
    assert np.shape(plain.logits) == (len(LAYOUTS), TOKENS, SPEC.vocab)
    assert np.array(observed.logits).tobytes() == np.array(plain.logits).tobytes()
    assert len(list(tmp_path.glob("True/*/capture.json"))) == len(LAYOUTS) and not (tmp_path / "False").exists()
