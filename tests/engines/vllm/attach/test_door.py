"""Nothing of a request is read before its token is found to be right, and then no more than a small body of the right kind."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, Field

from harness.engines.vllm.attach.door import LARGEST, Door

TOKEN = "0123456789abcdef" * 4
GOOD = f"Bearer {TOKEN}"


class Names(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    names: list[Annotated[str, Field(pattern="^[a-z]+$")]]


async def answer(asked: Names) -> Response:
    return Response(" ".join(asked.names))


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    app.add_route("/names", Door(TOKEN).to(answer, Names), methods=["POST"])
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, headers={"Authorization": GOOD}) as client:
        yield client


def test_who_has_the_token_is_answered(client: TestClient) -> None:
    assert client.post("/names", json={"names": ["one", "two"]}).text == "one two"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}", f"{GOOD}x", GOOD[:-1], f"Bearer é{TOKEN}"]
)
def test_no_other_header_is_let_in(header: str) -> None:
    assert not Door(TOKEN).admits(header)


def test_a_token_is_compared_in_constant_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for same in (True, False):
        monkeypatch.setattr(secrets, "compare_digest", lambda given, token, same=same: same)
        assert Door(TOKEN).admits("Bearer other") is Door(TOKEN).admits(GOOD) is same


class Asgi:
    """One request whose body comes in pieces; ``taken`` of them were read."""

    def __init__(self, app: FastAPI, header: str, pieces: list[bytes]) -> None:
        self.pieces, self.taken, self.status = pieces, 0, 0
        scope = {
            "type": "http", "method": "POST", "path": "/names", "query_string": b"", "http_version": "1.1",
            "headers": [(b"authorization", header.encode())],
        }  # fmt: skip
        asyncio.run(app(scope, self.receive, self.send))

    async def receive(self) -> dict:
        self.taken += 1
        last = self.taken == len(self.pieces)
        return {"type": "http.request", "body": self.pieces[self.taken - 1], "more_body": not last}

    async def send(self, message: dict) -> None:
        self.status = message.get("status", self.status)


def test_no_body_is_read_without_the_token(app: FastAPI) -> None:
    found = Asgi(app, "Bearer wrong", [b"[" * 1000])
    assert (found.status, found.taken) == (401, 0)


def test_a_body_that_is_too_large_is_not_read_to_its_end(app: FastAPI) -> None:
    found = Asgi(app, GOOD, [b" " * (LARGEST // 2)] * 50)
    assert (found.status, found.taken) == (413, 3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"\xff",
        b"[" * 9000,
        b"[]",
        b"{}",
        b'{"names": "one"}',
        b'{"names": [], "path": "/etc"}',
        b'{"names": [NaN]}',
    ],
)
def test_a_body_of_another_kind_is_refused(client: TestClient, body: bytes) -> None:
    assert client.post("/names", content=body).status_code == 422


def test_a_refusal_names_what_is_wrong_and_not_what_was_said(client: TestClient) -> None:
    refused = client.post("/names", content=json.dumps({"names": ["one", "../secret"]}))
    assert "names.1" in refused.text and "secret" not in refused.text
