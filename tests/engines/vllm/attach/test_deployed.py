"""A server as teams deploy one: compiled, of two tensor-parallel ranks, behind two API servers, with prefix caching."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.captures.read import Capture
from harness.compare.setting import Setting
from harness.engines.vllm.attach import protocol
from harness.families import checkpoint
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.verification.session import Session
from tests.engines.vllm.attach.commands import attach
from tests.engines.vllm.attach.served import How, Served, serving

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LONGEST = 128
HOW = How(
    "cpu",
    eager=False,
    more=("--api-server-count", "2", "--tensor-parallel-size", "2", "--max-model-len", str(LONGEST)),
)


LAYOUT = "t3 i5 t4 i12 t3"
SCORED = {"prompt_logprobs": 5, "logprobs": 5, "max_tokens": 4, "ignore_eos": True}
PROMPT = [2, *range(20, 60)]


@pytest.fixture(scope="module")
def model(session: Session) -> str:
    return session.checkpoint(preset("tiny"))


@pytest.fixture(scope="module")
def scores_without(model: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What such a server answers that has nothing of the harness in it."""
    with serving(model, tmp_path_factory.mktemp("without"), replace(HOW, switched_on=False)) as served:
        return served.complete(PROMPT, **SCORED)["choices"]


@pytest.fixture(scope="module")
def server(model: str, scores_without: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(model, tmp_path_factory.mktemp("served"), HOW) as served:
        yield served


def test_the_catalogue_is_verified_and_what_is_known_of_it_is_known(server: Served) -> None:
    code, found = attach(server, "--catalogue", "--known", "catalogue")
    verdicts = {one["case"]: one["verdict"] for one in found}
    assert code == 0, verdicts
    assert verdicts["no-image"] == "PASS" and verdicts["image-twice-window"] == verdicts["two-images"] == "KNOWN"
    assert "budget-70" in verdicts and "budget-140" not in verdicts
    settings = [(one["setting"]["mode"], one["setting"]["tensor_parallel"]) for one in found]
    assert set(settings) == {("compiled", 2)}


def test_the_masks_are_those_of_an_engine_of_our_own(server: Served, session: Session, tmp_path: Path) -> None:
    attach(server, "--layout", LAYOUT, "--keep", str(tmp_path))
    (facts,) = (tmp_path / "serving").rglob("capture.json")
    served = Capture(facts.parent, 0)
    spec = checkpoint.model(str(server.checkpoint))
    setting = Setting.of(backend="cpu", mode="compiled", tensor_parallel=2)
    (own,) = session.serve(spec, setting, [prompt_for(Layout.parse(LAYOUT), spec)])
    assert served.prompt.token_ids == own.prompt.token_ids
    for layer in own.facts.layers:
        assert np.array_equal(served.masks(layer.index), own.masks(layer.index))


def test_the_second_time_is_served_from_the_prefix_cache(server: Served) -> None:
    code, found = attach(server, "--layout", "t90", "--times", "2")
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    assert "positions came from the prefix cache" in found["diagnosis"]


def test_log_probabilities_are_equal_to_the_bit_with_and_without(server: Served, scores_without: list[dict]) -> None:
    assert server.complete(PROMPT, **SCORED)["choices"] == scores_without


def test_any_of_the_api_servers_knows_of_an_observation(server: Served) -> None:
    asked = {"requests": ["harness-test-0123456789"]}
    answered: list[tuple[set[int], set[int]]] = []
    for _ in range(20):
        with server.client() as one, server.client() as other:
            begun = one.post(protocol.BEGIN, json=asked)
            refused = other.post(protocol.BEGIN, json=asked)
            ended = other.post(protocol.END, json={"ticket": begun.json()["ticket"]})
            assert (begun.status_code, refused.status_code, ended.status_code) == (200, 409, 200)
            answered.append((server.answering(begun), server.answering(ended)))
    assert any(begun != ended for begun, ended in answered), answered
