"""A reference beside the first: prepared for by transformers, asked once for a prompt, and never the end of a case."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from harness.captures.read import Capture
from harness.compare.result import Failure
from harness.compare.setting import Setting
from harness.drivers.messages import LoadReference, Prepare, RunReference
from harness.drivers.timeouts import Timeouts
from harness.errors import FailureKind
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.references.adapter import OFFICIAL, TRANSFORMERS
from harness.verification.capture_store import CaptureStore
from harness.verification.further import Answered, FurtherSide
from tests.verification.fakes import SPEC, Fakes, failing, killed

PROMPTS = [prompt_for(Layout.parse(layout), SPEC) for layout in ("t3 i5 t4", "t6")]


@pytest.fixture
def store() -> Iterator[CaptureStore]:
    made = CaptureStore()
    yield made
    made.close()


def further(fakes: Fakes, store: CaptureStore) -> FurtherSide:
    return FurtherSide(fakes, sys.executable, "official==4.0.1", store, Timeouts())


DEFAULT = Setting()


def answers(one: FurtherSide, setting: Setting = DEFAULT) -> list[Answered]:
    return one.answers(SPEC, "checkpoint", setting, PROMPTS)


def test_a_reference_without_towers_is_given_what_another_driver_prepared(store: CaptureStore) -> None:
    fakes = Fakes(reference=OFFICIAL)
    found = answers(further(fakes, store))
    assert all(isinstance(one.found, Capture) for one in found)
    assert [driver.side for driver in fakes.drivers] == ["reference", "preparing"]
    asked = fakes.asked(RunReference)
    assert [request.prepared.prompts[0].token_ids for request in asked] == [prompt.token_ids for prompt in PROMPTS]


def test_one_that_has_all_of_it_is_asked_alone(store: CaptureStore) -> None:
    fakes = Fakes(reference=TRANSFORMERS)
    answers(further(fakes, store))
    assert fakes.asked(Prepare) == [] and [driver.side for driver in fakes.drivers] == ["reference"]


def test_a_prompt_is_asked_for_once(store: CaptureStore) -> None:
    fakes = Fakes(reference=OFFICIAL)
    one = further(fakes, store)
    assert answers(one) == answers(one)
    assert len(fakes.asked(RunReference)) == len(PROMPTS)


def test_it_attends_in_its_own_way_where_it_has_no_other(store: CaptureStore) -> None:
    fakes = Fakes(reference=OFFICIAL)
    answers(further(fakes, store), Setting.of(reference="sdpa"))
    assert {request.model.attention for request in fakes.asked(LoadReference)} == {"eager"}


@pytest.mark.parametrize(
    ("fault", "kind"), [(failing(FailureKind.PROBE), FailureKind.PROBE), (killed, FailureKind.GONE)]
)
def test_a_failure_is_the_answer_to_its_prompt_alone(fault, kind: FailureKind, store: CaptureStore) -> None:
    fakes = Fakes(reference=OFFICIAL, faults={("reference", RunReference): [fault]})
    first, second = answers(further(fakes, store))
    assert isinstance(first.found, Failure) and first.found.kind is kind
    assert isinstance(second.found, Capture)


@pytest.mark.parametrize(("setting", "spec"), [(Setting.of(dtype="float16"), SPEC), (Setting(), preset("gemma3-tiny"))])
def test_what_it_does_not_have_is_said_and_nothing_is_started(setting: Setting, spec, store: CaptureStore) -> None:
    fakes = Fakes(reference=OFFICIAL)
    (answered,) = further(fakes, store).answers(spec, "checkpoint", setting, PROMPTS[:1])
    assert isinstance(answered.found, Failure) and answered.found.kind is FailureKind.UNSUPPORTED
    assert "with the reference official" in answered.found.message and fakes.drivers == []
