"""What an API tells of a prompt, in each form that it has, is compared with the same tokens of the reference, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.captures import stack
from harness.captures.facts import AfterModel, EngineFacts, Facts, Loaded, PromptFacts
from harness.captures.read import Capture
from harness.compare.against import log_probabilities
from harness.compare.verdict import Verdict
from harness.drivers.messages import RunEngine
from harness.engines.vllm.attach import api, protocol
from harness.engines.vllm.attach.client import Address, Refused
from harness.engines.vllm.attach.driver import AttachedEngine
from harness.engines.vllm.attach.requests import Asked, Requests
from harness.engines.vllm.collected import Side
from harness.families.registry import prompt_for
from harness.prompts.layout import Layout
from tests.compare.captures import NOISE, SPEC, judged, masks_of, truth_of, write

LAYOUT = Layout.parse("t3 i5 t4")
TOLD = 4
WAYS = ("complete", "chat", "generate")


def answer(way: str, token_ids: tuple[int, ...], scores: np.ndarray) -> dict[str, Any]:
    """As vLLM 0.32 answers: of each position the likeliest tokens, and the one that the prompt has there."""
    likeliest = [np.argsort(-row)[:TOLD].tolist() for row in scores]
    prompt: list = [None]
    for row, some, token in zip(scores, likeliest, token_ids[1:], strict=False):
        prompt.append({str(one): {"logprob": float(row[one]), "rank": 1} for one in {*some, token}})
    last = {one: float(scores[-1][one]) for one in likeliest[-1]}
    told: dict[str, Any] = {"prompt_token_ids": list(token_ids), "prompt_logprobs": prompt}
    if way == "complete":
        of_last = {"top_logprobs": [{f"{api.PREFIX}{token}": score for token, score in last.items()}]}
        return {"choices": [{"logprobs": of_last, **told}]}
    named = [{"token": f"{api.PREFIX}{token}", "token_id": token, "logprob": score} for token, score in last.items()]
    return {"choices": [{"logprobs": {"content": [{"top_logprobs": named}]}}], **told}


def capture(folder: Path, reference: Capture, way: str, scores: np.ndarray) -> Capture:
    found = api.Answered.of(way, answer(way, reference.prompt.token_ids, scores))
    folder.mkdir()
    rows = list(range(len(LAYOUT)))
    stack.save(folder / "capture.safetensors", found.tensors(rows, scores.shape[1]))
    facts = Facts(
        layers=(), logits_at=tuple(rows), versions={"vllm": "0.32.0"}, seconds={"serving": 1.0, "serving probing": 0.0},
        loaded=Loaded(reference.facts.loaded.checkpoint, {}), after=AfterModel(()), head=None,
        engine=EngineFacts("auto", "auto", by_api=True), log_probabilities=True,
    )  # fmt: skip
    stack.write_facts(folder, facts, [PromptFacts(found.token_ids)])
    return Capture(folder, 0)


@pytest.fixture
def reference(tmp_path: Path) -> Capture:
    return write(tmp_path / "reference", LAYOUT, masks_of("clamp", LAYOUT), side="reference")


def served() -> np.ndarray:
    truth = truth_of(LAYOUT)
    return log_probabilities(truth + NOISE * np.random.default_rng(5).choice([-1.0, 1.0], truth.shape))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_told_passes_and_says_what_is_not_known(tmp_path: Path, reference: Capture, way: str) -> None:
    result = judged(reference, capture(tmp_path / "serving", reference, way, served()), LAYOUT)
    assert result.verdict is Verdict.PASS and not result.layers, result.diagnosis
    assert "masks were not observed (its API alone was asked" in result.diagnosis
    assert f"log-probabilities of {TOLD} to {TOLD + 1} tokens" in result.diagnosis
    assert "tensors were not found" not in result.diagnosis


@pytest.mark.parametrize("way", WAYS)
def test_a_told_token_that_is_off_diverges(tmp_path: Path, reference: Capture, way: str) -> None:
    scores = served()
    for row in (2, len(LAYOUT) - 1):
        scores[row, scores[row].argmax()] -= 1e-3
    result = judged(reference, capture(tmp_path / "serving", reference, way, scores), LAYOUT)
    assert result.verdict is Verdict.DIVERGED
    assert result.logits.position_of_worst in (2, len(LAYOUT) - 1)


def test_a_token_of_which_nothing_is_told_has_no_say(tmp_path: Path, reference: Capture) -> None:
    scores = served()
    for row, following in enumerate([*reference.prompt.token_ids[1:], None]):
        least = next(token for token in scores[row].argsort() if token != following)
        scores[row, least] -= 1
    result = judged(reference, capture(tmp_path / "serving", reference, "complete", scores), LAYOUT)
    assert result.verdict is Verdict.PASS, result.diagnosis


def test_an_answer_without_what_was_asked_for_is_none() -> None:
    with pytest.raises(RuntimeError, match="no token ids or log-probabilities"):
        api.Answered.of("chat", {"choices": [{"logprobs": None}]})


def test_a_prompt_is_sent_as_often_as_is_asked_with_one_salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = prompt_for(Layout.parse("t9"), SPEC)
    scores = log_probabilities(np.random.default_rng(3).normal(size=(9, SPEC.vocab)))
    sent: list[dict[str, Any]] = []

    def complete(body: dict[str, Any], engine: int | None) -> dict[str, Any]:
        sent.append(body)
        return answer("complete", prompt.token_ids, scores if len(sent) == 2 else scores - 1)

    engine = AttachedEngine(Address("http://127.0.0.1:1", ""))
    monkeypatch.setattr(engine.server, "complete", complete)
    facts = protocol.by_api("0.32.0", "model", "model", 512, scale_out=False)
    engine.requests, engine.width = Requests(facts, None, None), SPEC.vocab
    engine.side = Side(facts.versions, Loaded("", {}), facts.engine)
    (stored,) = engine.run(RunEngine(prompts=(prompt,), out=tmp_path, times=2)).captures
    assert len({body["cache_salt"] for body in sent}) == 1 and len({body["request_id"] for body in sent}) == 2
    found = Capture(stored.directory, 0).tensors
    assert found["logits"][found["told"] == 1].max() == pytest.approx(scores.max(), abs=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_tells_of_fewer_tokens_is_asked_for_those(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 5
    engine = AttachedEngine(Address("http://127.0.0.1:1", ""))
    asked: list[int] = []

    def send(body: dict[str, Any], _: int | None) -> dict[str, Any]:
        asked.append(body.get("sampling_params", body)["prompt_logprobs"])
        if asked[-1] > most:
            raise Refused(400, f"Requested sample logprobs of {asked[-1]}, which is greater than max allowed: {most}")
        return body

    monkeypatch.setattr(engine.server, way, send)
    for _ in range(2):
        engine._scored(Asked("name", way, {"sampling_params": {}} if way == "generate" else {}))
    assert asked == [api.MOST, most, most]
    most = 0
    with pytest.raises(RuntimeError, match="--max-logprobs 0"):
        engine._scored(Asked("name", way, {"sampling_params": {}} if way == "generate" else {}))


def test_another_refusal_is_told_as_it_is() -> None:
    assert api.allowed("the model `x` does not exist") is None
