"""A case is the same bytes every time: in one engine, and in another one of the same setting."""

from __future__ import annotations

import json

import pytest

from harness.captures.read import Capture
from harness.compare.setting import Setting
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import Layout
from harness.verification.session import Session

pytestmark = pytest.mark.engine

SPEC, V1 = preset("tiny"), Setting.of(runner="v1")
PROMPT = prompt_for(Layout.parse("t3 i5 t4 i12 t3"), SPEC)


def content(capture: Capture) -> tuple[bytes, dict]:
    """Everything that must be the same in every run."""
    facts = json.loads((capture.directory / "capture.json").read_text())
    return (capture.directory / "capture.safetensors").read_bytes(), {**facts, "seconds": None, "memory": None}


def test_two_runs_are_the_same_bytes_on_both_sides(session: Session) -> None:
    (first,) = session.observe(SPEC, V1, [PROMPT])
    session.forget_references()
    (second,) = session.observe(SPEC, V1, [PROMPT])
    for one, two in ((first.reference, second.reference), (first.serving, second.serving)):
        assert one.directory != two.directory
        assert content(one) == content(two)


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(session: Session, tmp_path) -> None:
    (first,) = session.observe(SPEC, V1, [PROMPT])
    with Session(
        reference_python=session.reference_python, serving_python=session.serving_python, keep=tmp_path
    ) as another:
        (second,) = another.observe(SPEC, V1, [PROMPT])
    assert content(first.reference) == content(second.reference)
    assert content(first.serving) == content(second.serving)
