"""A message is the same on both ends."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.drivers.messages import Build, Built, ReferenceModel, Request, RunEngine, RunReference
from harness.families.registry import PRESETS, prompt_for
from harness.files import typed
from harness.prompts.layout import Layout
from harness.prompts.prompt import Prompt
from harness.prompts.strategies import layouts

PROMPTS = st.lists(st.builds(prompt_for, layouts(), st.just(PRESETS["tiny"]), st.integers(0, 99)), max_size=3).map(
    tuple
)


def arrived(message: object) -> object:
    return typed.read(type(message), json.loads(typed.dumps(message)))


@given(PROMPTS, PROMPTS)
def test_prompts_arrive_as_they_were_sent(prompts: tuple[Prompt, ...], mates: tuple[Prompt, ...]) -> None:
    for request in (
        RunEngine(prompts, Path("out"), mates, layers=(0,), positions=(-1,), longest=9),
        RunReference(ReferenceModel("there", "eager", "float32"), prompts, Path("out"), samples=2),
    ):
        assert arrived(request) == request
    text = RunEngine((Prompt((), (), (), images=("a.png",), text="w1 <|image|>"),), Path("out"))
    assert arrived(text) == text


@pytest.mark.parametrize("spec", PRESETS.values(), ids=PRESETS)
def test_a_spec_arrives_as_it_was_sent(spec) -> None:
    assert arrived(Build(spec, Path("cache"))) == Build(spec, Path("cache"))


def test_a_request_names_its_answer() -> None:
    assert Build.answer is Built

    class Narrower(Build):
        pass

    assert Narrower.answer is Built and not hasattr(Request, "answer")


def test_a_long_prompt_is_written_about_as_fast_as_its_numbers_alone() -> None:
    """Its fields are not copied one by one, which takes several times as long."""
    spec = PRESETS["tiny"].with_(max_length=8192)
    request = RunEngine((prompt_for(Layout.parse("t3000 i1000 t3000"), spec),), Path("out"))
    numbers = [list(request.prompts[0].token_ids), list(request.prompts[0].token_types)]

    def fastest(work) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    assert fastest(lambda: typed.dumps(request)) < 4 * fastest(lambda: json.dumps(numbers))


@pytest.mark.parametrize(("adapter", "adapted"), [("nobody", ""), ("request", "cd"), ("mates", "abe")])
def test_whenever_a_batch_is_served_the_same_of_it_have_the_adapter(adapter: str, adapted: str) -> None:
    one = Prompt((), (), ())
    asked = RunEngine((one,) * 2, Path("out"), (one,) * 2, after=(one,), adapter=adapter)
    assert asked.adapted([*"abcde"]) == [*adapted]
