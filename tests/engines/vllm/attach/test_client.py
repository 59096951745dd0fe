"""What is said of a server that does not tell what it is."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from harness.engines.vllm.attach import protocol
from harness.engines.vllm.attach.client import Address, Server
from harness.errors import EnvironmentFailure

VERSION, MODELS = {"version": "0.32.0"}, {"data": [{"id": "mine", "max_model_len": 512}]}


def server(answers: Mapping[str, tuple[int, object]]) -> Server:
    """A server that answers these paths, and no others."""
    made = Server(Address("http://127.0.0.1:1", ""), 1.0)

    def answer(request: httpx.Request) -> httpx.Response:
        status, said = answers.get(request.url.path, (404, {}))
        return httpx.Response(status, json=said)

    made._http = httpx.Client(base_url=made.address.url, transport=httpx.MockTransport(answer))
    return made


@pytest.mark.parametrize(("status", "takes"), [(404, False), (403, False), (422, True)])
def test_a_server_without_the_plugin_says_what_its_api_tells(status: int, takes: bool) -> None:
    facts = server(
        {"/version": (200, VERSION), "/v1/models": (200, MODELS), "/inference/v1/generate": (status, {})}
    ).facts
    assert facts.engine.by_api and (facts.model, facts.longest, facts.scale_out) == ("mine", 512, takes)


def test_a_key_of_the_api_that_is_not_the_right_one_is_named() -> None:
    with pytest.raises(EnvironmentFailure, match="another key of its API than that in OPENAI_API_KEY"):
        _ = server({"/version": (200, VERSION), "/v1/models": (401, {"error": "Unauthorized"})}).facts


@pytest.mark.parametrize(
    "answers", [{}, {"/version": (200, [])}, {"/version": (200, VERSION), "/v1/models": (200, {})}]
)
def test_what_is_no_vllm_is_said_to_be_none(answers: dict[str, tuple[int, object]]) -> None:
    with pytest.raises(EnvironmentFailure, match="this is no `vllm serve`"):
        _ = server(answers).facts


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("0.25.1", "vLLM 0.25.1 has no endpoint plugins; from 0.26 on"),
        ("0.26.0", "vllm serve MODEL"),
        ("0.29.0", "vllm serve MODEL"),
        ("0.30.0", "vllm serve MODEL --enable-scale-out"),
        ("dev", "vllm serve MODEL --enable-scale-out"),
    ],
)
def test_the_line_that_starts_an_observed_server_is_one_that_its_release_takes(release: str, said: str) -> None:
    line = protocol.start(release)
    assert said in line and line.endswith("--enable-scale-out") == said.endswith("--enable-scale-out")
