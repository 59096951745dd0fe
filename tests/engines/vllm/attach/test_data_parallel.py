"""A server of two data-parallel engines behind two API servers: each engine is observed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.engines.vllm.attach import protocol
from tests.engines.vllm.attach.commands import attach
from tests.engines.vllm.attach.served import How, Served

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ENGINES = 2
HOW = How("cpu", more=("--data-parallel-size", str(ENGINES), "--max-model-len", "128"))
ASKED = {"requests": ["harness-test-0123456789"]}


def test_engines_serve_the_catalogue_in_turn(server: Served) -> None:
    code, found = attach(server, "--catalogue", "--known", "catalogue")
    verdicts = {one["case"]: one["verdict"] for one in found}
    assert code == 0 and verdicts["no-image"] == "PASS" and verdicts["two-images"] == "KNOWN", verdicts
    for number in range(ENGINES):
        assert any(f"data-parallel engine {number} served it, of {ENGINES}" in one["diagnosis"] for one in found)


@pytest.mark.parametrize("engine", range(ENGINES))
def test_one_engine_serves_a_prompt_twice_where_it_is_named(server: Served, engine: int) -> None:
    code, found = attach(server, "--layout", "t90", "--times", "2", "--engine", str(engine))
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    assert "positions came from the prefix cache" in found["diagnosis"]
    assert f"data-parallel engine {engine} served it" in found["diagnosis"]
    assert f"--engine {engine}" in found["reproduce"]


def test_of_those_who_begin_at_once_at_most_one_does_and_nobody_is_shut_out(server: Served) -> None:
    for _ in range(5):
        with ThreadPoolExecutor(4) as threads:
            answers = [*threads.map(lambda _: _begin(server), range(4))]
        begun = [found["ticket"] for status, found in answers if status == 200]
        assert len(begun) <= 1 and {status for status, _ in answers} <= {200, 409}
        _end(server, begun)
        status, found = _begin(server)
        assert status == 200
        _end(server, [found["ticket"]])


def _begin(server: Served) -> tuple[int, dict]:
    with server.client() as client:
        answer = client.post(protocol.BEGIN, json=ASKED)
        return answer.status_code, answer.json()


def _end(server: Served, tickets: list[str]) -> None:
    with server.client() as client:
        for ticket in tickets:
            client.post(protocol.END, json={"ticket": ticket})
