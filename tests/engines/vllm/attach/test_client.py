"""What is said of a server that does not tell what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from harness.engines.vllm.attach import client, protocol
from harness.engines.vllm.attach.client import API_KEY, REQUEST, Address, Refused, Server
from harness.errors import EnvironmentFailure, UsageError

VERSION, MODELS = {"version": "0.32.0"}, {"data": [{"id": "mine", "max_model_len": 512}]}


def server(answers: Mapping[str, tuple[int, object]], url: str = "http://127.0.0.1:1") -> Server:
    """A server that answers these paths, with JSON or as they are, and no others."""
    made = Server(Address(url, ""), 1.0)

    def answer(request: httpx.Request) -> httpx.Response:
        status, said = answers.get(request.url.path, (404, {}))
        return said if isinstance(said, httpx.Response) else httpx.Response(status, json=said)

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


PAGE = "<html>\n<body>\n" + "<p>words\n" * 500


@pytest.mark.parametrize(
    ("root", "said"),
    [
        (httpx.Response(200, html=PAGE), "what is no JSON: <html> <body>"),
        (httpx.Response(502, html=PAGE), "answers 502: <html> <body>"),
        (httpx.Response(307, headers={"Location": "https://there/harness"}), "elsewhere, .*: https://there/harness"),
        (httpx.Response(304), "answers 304"),
        (httpx.Response(200, json=[1]), "another version of the harness, with protocol None"),
        (
            httpx.Response(200, json={"protocol": protocol.VERSION}),
            "another version of the harness, of the same protocol",
        ),
    ],
)
def test_an_answer_of_another_kind_is_told_in_one_line(root: httpx.Response, said: str) -> None:
    with pytest.raises(EnvironmentFailure, match=said) as found:
        _ = server({protocol.ROOT: (0, root)}).facts
    assert "\n" not in str(found.value) and len(str(found.value)) < 600


def test_the_address_of_an_api_is_told_from_that_of_its_server() -> None:
    with pytest.raises(EnvironmentFailure, match=r"leave out the /v1: http://127\.0\.0\.1:1$"):
        _ = server({}, "http://127.0.0.1:1/v1").facts


@pytest.mark.parametrize(
    "url", ["http://xn--:80", "http://-é..x:80", "http://[::1:80", "ftp://host", "http://:80", "host"]
)
def test_what_is_no_address_is_bad_input(url: str) -> None:
    with pytest.raises(UsageError, match="url"):
        Address(url, "")


@pytest.mark.parametrize("key", ["sk-secret\nX: y", "sk-secr€t", "sk-secret\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY, key)
    with pytest.raises(UsageError, match=API_KEY) as found:
        server({})
    assert "sk-" not in str(found.value)


def test_the_end_of_a_line_is_no_part_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY, "sk-secret\n")
    assert server({})._of_api == {"Authorization": "Bearer sk-secret"}


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nothing://127.0.0.1:1")
    with pytest.raises(UsageError, match="proxy"):
        Server(Address("http://127.0.0.1:1", ""), 1.0)


def test_a_request_has_its_name_where_a_proxy_would_put_another() -> None:
    named: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        named.append(request.headers[REQUEST])
        return httpx.Response(200, json={})

    made = server({})
    made._http = httpx.Client(base_url=made.address.url, transport=httpx.MockTransport(answer))
    for send in (made.complete, made.chat, made.generate):
        send({"request_id": send.__name__})
    assert named == ["complete", "chat", "generate"]


def test_a_server_that_ends_while_it_is_asked_is_said_to_be_gone(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("", request=request)

    made = server({})
    made._http = httpx.Client(base_url=made.address.url, transport=httpx.MockTransport(answer))
    for ask in (lambda: made.fetch("", 0, 0, 0, tmp_path / "file"), lambda: made.collect(""), lambda: made.chat({})):
        with pytest.raises(EnvironmentFailure, match="cannot be reached: ReadError"):
            ask()


def test_an_observation_of_another_client_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "AGAIN", 0.01)
    answers = [httpx.Response(409, json={"detail": "another"}), httpx.Response(200, json={"ticket": "a"})]
    made = server({})
    made._http = httpx.Client(base_url=made.address.url, transport=httpx.MockTransport(lambda _: answers.pop(0)))
    assert made.begin(["name"], None, [], [], masks=True) == "a" and not answers
    monkeypatch.setattr(client, "WAITING", 0.0)
    answers += [httpx.Response(409, json={"detail": "another"})] * 2
    with pytest.raises(Refused, match="another"):
        made.begin(["name"], None, [], [], masks=True)


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
