"""A stream of batches has the results of the same batches verified one after another, and goes on after a dead driver."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import FailureKind
from harness.families.registry import preset, prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.pipeline import verify_stream
from harness.verification.reference_pool import AT_WORK, reference_model
from harness.verification.session import Session
from harness.verification.verify import verify, verify_batch
from tests.verification import labour

pytestmark = pytest.mark.engine

SPEC, V1 = preset("tiny"), Setting.of(runner="v1")
BATCHES = [
    [Layout.parse(text) for text in batch]
    for batch in (["t3 i5 t2", "t9"], ["i9 t3"], ["t2 v2x3", "i2 t3", "t4 i1"], ["t30"])
]


@pytest.mark.slow
def test_the_results_are_those_of_batches_one_after_another(session: Session) -> None:
    streamed = list(verify_stream(session, BATCHES, V1, SPEC))
    assert [[result.layout for result in results] for results in streamed] == [
        list(map(str, batch)) for batch in BATCHES
    ]
    for results, batch in zip(streamed, BATCHES, strict=True):
        for one, other in zip(results, verify_batch(session, batch, V1, SPEC), strict=True):
            assert one.verdict is other.verdict is Verdict.PASS
            assert [layer.masks for layer in one.layers] == [layer.masks for layer in other.layers]


@pytest.mark.slow
def test_several_references_in_turn_give_the_same_results(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AT_WORK, "cpu", 2)
    with Session() as other:
        streamed = [result for results in verify_stream(other, BATCHES, V1, SPEC) for result in results]
        ready = [
            other.references.ready(reference_model(other.checkpoint(SPEC), V1), in_turn=True).process.pid
            for _ in range(3)
        ]
    assert ready[0] == ready[2] != ready[1]
    alone = [result for results in verify_stream(session, BATCHES, V1, SPEC) for result in results]
    assert [result.layout for result in streamed] == [result.layout for result in alone]
    for one, other_one in zip(streamed, alone, strict=True):
        assert one.verdict is Verdict.PASS
        assert (one.layers, one.logits) == (other_one.layers, other_one.logits)


@pytest.mark.slow
def test_the_command_of_a_result_has_its_words_and_pictures(session: Session) -> None:
    streamed = [results[0] for results in verify_stream(session, [[Layout.parse("t2 i3 t2")]] * 3, V1, SPEC)]
    assert [re.findall("--seed (.)", result.reproduce) for result in streamed] == [[], ["1"], ["2"]]
    for seed, result in enumerate(streamed):
        again = verify(session, Case("again", "", "t2 i3 t2", seed=seed), V1)
        assert errors(again) == errors(result)
    assert errors(streamed[0]) != errors(streamed[1])


def errors(result: CaseResult) -> dict[str, list[float]]:
    """Serving's logits against the truth by position, without the noise floor: a stream has one sample of it."""
    return {name: result.logits.by_position[name] for name in ("max_abs_diff", "kl")}


def test_a_declared_divergence_is_known_in_a_stream_too(session: Session) -> None:
    from cases.catalogue import DECLARED

    (results,) = verify_stream(session, [[Layout.parse("t3 i9 t4")]], Setting.of(runner="v2"), SPEC, DECLARED)
    assert results[0].verdict is Verdict.KNOWN


@pytest.mark.slow
def test_what_does_not_pass_has_two_samples_of_the_noise_floor(session: Session) -> None:
    capped = Setting.of(runner="v1", arguments=(("hf_overrides", '{"text_config": {"final_logit_softcapping": 1.0}}'),))
    for setting, verdict, samples in ((V1, Verdict.PASS, 1), (capped, Verdict.DIVERGED, 2)):
        streamed = list(verify_stream(session, BATCHES, setting, SPEC))
        assert [len(results) for results in streamed] == list(map(len, BATCHES))
        for result in (result for results in streamed for result in results):
            assert not result.masks_differ
            assert (result.verdict, result.logits.samples) == (verdict, samples)


@pytest.mark.slow
def test_a_second_sample_leaves_the_serving_side_as_it_is(session: Session) -> None:
    prompts = [
        prompt_for(Layout.parse(text), SPEC, seed=seed)
        for seed, text in enumerate(("t3 i5", "t4 i9 t2", "t6"), start=70)
    ]
    flight = session.begin(SPEC, V1, prompts, remember=False)
    pairs = session.finish(flight)
    flight.reference.driver.kill()  # another is started for it
    both = session.sampled_again(flight, pairs)
    for one, two in zip(pairs, both, strict=True):
        assert two.serving is one.serving
        assert two.reference.prompt == one.reference.prompt
        assert set(two.reference.tensors) - set(one.reference.tensors) == {"again.logits"}
        for name, tensor in one.reference.tensors.items():
            assert np.array_equal(tensor, two.reference.tensors[name])
    session.discard(flight)


@pytest.mark.slow
def test_an_engine_that_dies_makes_errors_of_what_it_was_asked_and_no_more(session: Session) -> None:
    driver = session.engine(SPEC, V1)

    def batches() -> Iterator[list[Layout]]:
        for number, batch in enumerate(BATCHES):
            if number == 1:
                os.kill(driver.process.pid, signal.SIGKILL)
                driver.process.wait()
            yield batch

    verdicts = [{result.verdict for result in results} for results in verify_stream(session, batches(), V1, SPEC)]
    assert len(verdicts) == len(BATCHES)
    assert verdicts[-1] == {Verdict.PASS}
    assert verdicts.count({Verdict.ERROR}) <= 2
    assert all(verdict in ({Verdict.PASS}, {Verdict.ERROR}) for verdict in verdicts)


def test_a_process_that_dies_comparing_makes_an_error_of_one_layout(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.verification.pipeline._compared", labour.compare)
    results = [result for results in verify_stream(session, BATCHES, V1, SPEC) for result in results]
    assert [result.layout for result in results] == [str(layout) for batch in BATCHES for layout in batch]
    for result in results:
        assert result.verdict is (Verdict.ERROR if result.layout == labour.DEADLY else Verdict.PASS)
    (dead,) = (result for result in results if result.layout == labour.DEADLY)
    assert (dead.error.stage, dead.error.kind) == (
        "comparison",
        FailureKind.GONE,
    ) and "the worker process died (signal SIGKILL)" in dead.diagnosis


@pytest.mark.slow
def test_captures_that_were_compared_are_removed_unless_they_are_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def captures() -> int:
        return len(list(session.work.glob("*/*/*/capture.json")))

    before = captures()
    assert len(list(verify_stream(session, BATCHES[:2], V1, SPEC))) == 2
    kept = captures()
    assert kept > before
    monkeypatch.setattr(session.captures, "temporary", True)
    for results in verify_stream(session, BATCHES[:2], V1, SPEC):
        assert {result.verdict for result in results} == {Verdict.PASS}
    assert captures() == kept
