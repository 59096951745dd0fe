"""A real `vllm serve` is observed beside what it serves anyway: by those who have the token, and by nobody else."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from harness.engines.vllm.attach import protocol
from tests.engines.vllm.attach.commands import attach
from tests.engines.vllm.attach.served import How, Served

pytestmark = [pytest.mark.engine, pytest.mark.slow]

NAME = "harness-test-0123456789"
PROMPT = [2, *range(20, 60)]
HOW = How()


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


@contextmanager
def traffic(server: Served) -> Iterator[list[int]]:
    """Requests of others, one after another, until this ends; the numbers of tokens that they were answered with."""
    answered: list[int] = []
    over = threading.Event()

    def others() -> None:
        for first in itertools.cycle(range(10, 200)):
            if over.is_set():
                return
            found = server.complete([2, *range(first, first + 30)], max_tokens=8, ignore_eos=True)
            answered.append(found["usage"]["completion_tokens"])

    threads = [threading.Thread(target=others) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_layout_beside_other_traffic_passes(server: Served) -> None:
    with traffic(server) as answered:
        code, found = attach(server, "--layout", "t3 i5 t4 i12 t3")
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    assert [layer["serving_policy"] for layer in found["layers"]] == ["clamp", "causal"]
    assert found["logits"]["ratio"] > 0
    assert len(answered) > 2 and set(answered) == {8}


def test_a_message_with_a_picture_goes_through_the_chat_template(server: Served, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    code, found = attach(server, "--image", str(tmp_path / "picture.png"), "--text", "w40 w41 w42")
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    assert {token["kind"] for token in found["tokens"]} >= {"image", "text"}


def test_logits_of_others_are_the_same_to_the_bit(server: Served, client: httpx.Client) -> None:
    asked = {"prompt_logprobs": 5, "logprobs": 5, "max_tokens": 4}
    before = server.complete(PROMPT, **asked)["choices"]
    ticket = client.post(protocol.BEGIN, json={"requests": [f"cmpl-{NAME}-0"]}).json()["ticket"]
    beside = server.complete(PROMPT, **asked)["choices"]
    observed = server.complete(PROMPT, **asked, request_id=NAME)["choices"]
    ((rank,),) = client.post(protocol.COLLECT, json={"ticket": ticket}).json()
    assert rank["prompts"][f"cmpl-{NAME}-0"]["token_ids"] == PROMPT and not rank["failure"]
    client.post(protocol.END, json={"ticket": ticket})
    assert before == beside == observed == server.complete(PROMPT, **asked)["choices"]


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", protocol.ROOT),
        *(("POST", path) for path in (protocol.BEGIN, protocol.COLLECT, protocol.FETCH, protocol.END)),
    ],
)
def test_without_the_token_nothing_is_told(server: Served, header: str | None, method: str, path: str) -> None:
    headers = {} if header is None else {"Authorization": header.format(token=server.token)}
    answer = httpx.request(method, f"{server.url}{path}", headers=headers, json={}, timeout=60)
    assert answer.status_code == 401 and server.token not in answer.text


def test_nothing_but_names_numbers_and_tickets_is_taken(client: httpx.Client) -> None:
    bodies: list[dict] = [
        {"requests": ["../../etc/passwd-and-more"]},
        {"requests": ["short"]},
        {"requests": []},
        {"requests": [NAME], "path": "/tmp"},
        {"requests": [NAME], "layers": ["os.system('true')"]},
        {"requests": [NAME] * (protocol.MOST_REQUESTS + 1)},
        {"requests": [NAME], "longest": 1 << 20},
        {"requests": [NAME], "positions": [1 << 70]},
    ]
    for body in bodies:
        assert client.post(protocol.BEGIN, json=body).status_code in (400, 422), body
    ticket = client.post(protocol.BEGIN, json={"requests": [NAME]}).json()["ticket"]
    for place, engine, rank in (("../token", 0, 0), (-1, 0, 0), (0, 0, 0), (0, 0, 7), (0, 7, 0), (0, -1, 0), (9, 0, 0)):
        answer = client.post(protocol.FETCH, json={"ticket": ticket, "place": place, "engine": engine, "rank": rank})
        assert answer.status_code in (400, 404, 422), (place, engine, rank)
    for other, status in (("../..", 422), (protocol.TICKET, 422), ("a" * 32, 404)):
        asked = {"ticket": other, "place": 0, "engine": 0, "rank": 0}
        assert client.post(protocol.FETCH, json=asked).status_code == status
    client.post(protocol.END, json={"ticket": ticket})


def test_no_port_is_opened(server: Served, client: httpx.Client) -> None:
    before = server.listening()
    ticket = client.post(protocol.BEGIN, json={"requests": [f"cmpl-{NAME}-0"]}).json()["ticket"]
    server.complete(PROMPT, request_id=NAME)
    client.post(protocol.COLLECT, json={"ticket": ticket})
    assert server.listening() == before and int(server.url.rpartition(":")[2]) in before
    client.post(protocol.END, json={"ticket": ticket})


def test_a_file_of_an_observation_is_its_server_s_alone(server: Served, client: httpx.Client) -> None:
    ticket = client.post(protocol.BEGIN, json={"requests": [f"cmpl-{NAME}-0"]}).json()["ticket"]
    server.complete(PROMPT, request_id=NAME)
    client.post(protocol.COLLECT, json={"ticket": ticket})
    fetched = client.post(protocol.FETCH, json={"ticket": ticket, "place": 0, "engine": 0, "rank": 0})
    (written,) = Path(tempfile.gettempdir()).glob(f"harness-attach-*/{ticket}")
    assert written.parent.stat().st_mode & 0o777 == 0o700
    assert fetched.content == (written / "0" / "capture.safetensors").read_bytes()
    client.post(protocol.END, json={"ticket": ticket})
    assert not written.parent.exists()


def test_one_observation_is_under_way_at_a_time(client: httpx.Client) -> None:
    ticket = client.post(protocol.BEGIN, json={"requests": [NAME]}).json()["ticket"]
    other = client.post(protocol.BEGIN, json={"requests": [NAME]})
    assert other.status_code == 409 and "another observation" in other.text
    assert client.post(protocol.COLLECT, json={"ticket": "a" * 32}).status_code == 404
    client.post(protocol.END, json={"ticket": ticket})
    ticket = client.post(protocol.BEGIN, json={"requests": [NAME]}).json()["ticket"]
    client.post(protocol.END, json={"ticket": ticket})


def test_what_cannot_be_observed_is_told_and_the_server_goes_on(server: Served, client: httpx.Client) -> None:
    begun = {"requests": [f"cmpl-{NAME}-0"], "positions": [1000]}
    ticket = client.post(protocol.BEGIN, json=begun).json()["ticket"]
    server.complete(PROMPT, request_id=NAME)
    ((rank,),) = client.post(protocol.COLLECT, json={"ticket": ticket}).json()
    assert "1000" in rank["failure"]
    client.post(protocol.END, json={"ticket": ticket})
    assert server.complete(PROMPT)["usage"]["completion_tokens"] == 1


def test_what_cannot_be_written_is_told_and_the_next_observation_is_as_any(
    server: Served, client: httpx.Client
) -> None:
    there = set(Path(tempfile.gettempdir()).glob("harness-attach-*"))
    ticket = client.post(protocol.BEGIN, json={"requests": [f"cmpl-{NAME}-0"]}).json()["ticket"]
    (made,) = set(Path(tempfile.gettempdir()).glob("harness-attach-*")) - there
    (made / ticket).touch()  # a file where the worker makes a directory
    server.complete(PROMPT, request_id=NAME)
    told = client.post(protocol.COLLECT, json={"ticket": ticket})
    assert told.status_code == 500 and "Error: " in told.text, told.text
    assert client.post(protocol.END, json={"ticket": ticket}).status_code == 200
    assert not made.exists()
    code, found = attach(server, "--layout", "t5")
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]


def test_two_clients_wait_for_each_other(server: Served) -> None:
    with ThreadPoolExecutor(2) as both:
        found = [*both.map(lambda layout: attach(server, "--layout", layout), ["t20", "t3 i5 t4"])]
    assert [(code, one["verdict"]) for code, one in found] == [(0, "PASS")] * 2, found
