"""A server whose ranks have some layers each, and which takes a long prompt in chunks."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.captures.read import Capture
from tests.engines.vllm.attach.commands import attach
from tests.engines.vllm.attach.served import How, Served

pytestmark = [pytest.mark.engine, pytest.mark.slow]

CHUNK = 96
HOW = How(
    "cpu",
    more=("--pipeline-parallel-size", "2", "--max-model-len", "128", "--max-num-batched-tokens", str(CHUNK)),
)


def test_the_layers_of_all_ranks_are_observed(server: Served) -> None:
    code, found = attach(server, "--catalogue", "--known", "catalogue")
    verdicts = {one["case"]: one["verdict"] for one in found}
    assert code == 0 and verdicts["no-image"] == "PASS" and verdicts["budget-70"] == "KNOWN", verdicts
    assert {one["setting"]["pipeline_parallel"] for one in found} == {2}
    assert all([layer["index"] for layer in one["layers"]] == [0, 1] for one in found)


def test_a_prompt_in_two_chunks_passes(server: Served, tmp_path: Path) -> None:
    code, found = attach(server, "--layout", "t120", "--keep", str(tmp_path))
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    (facts,) = (tmp_path / "serving").rglob("capture.json")
    assert Capture(facts.parent, 0).prompt.steps == [[0, CHUNK - 1], [CHUNK, 119]]
