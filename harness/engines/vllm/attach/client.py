"""Speaking to a server: its OpenAI API, and the routes of `protocol`. Secrets are sent to nobody else and never shown."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from harness.engines.vllm.attach import protocol, switch
from harness.engines.vllm.attach.protocol import Begun, ServerFacts
from harness.errors import EnvironmentFailure, UsageError
from harness.files import typed
from harness.text import cut

API_KEY = "OPENAI_API_KEY"
"""The environment variable with the key of the server's own API, where it has one."""
REQUEST = "X-Request-Id"
"""The header that vLLM names a request by, before what its body says; many a proxy adds it where there is none."""
WAITING, AGAIN = protocol.LEASE + 60.0, 0.5
"""Seconds for which an observation of another client is waited for, and between two looks."""
CONNECTING = 60.0
"""Seconds until a connection is there."""
SAID = 300
"""Characters of what is shown of an answer."""
ENGINE = "X-data-parallel-rank"
"""vLLM's header for the data-parallel engine that is to serve a request."""


@dataclass(frozen=True)
class Address:
    """Where a server is, and the file of the token that it was started with.

    Raises:
        UsageError: the address is none.
    """

    url: str
    token_file: str

    def __post_init__(self) -> None:
        allowed = "http://HOST:PORT or https://HOST:PORT, with the path that the server is behind, if any"
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and httpx.URL(self.url).host
        except (ValueError, httpx.InvalidURL):
            good = False
        if not good or parts.query or parts.fragment or parts.username or parts.password:
            raise UsageError("url", self.url, allowed)


class Refused(RuntimeError):
    """A server's answer that is none: its ``status``, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Server:
    """A server at an address, which may take ``timeout`` seconds for an answer, or as many as it likes.

    Raises:
        UsageError: the token's file has none that could be kept secret, the API's key is none that can be sent, or the
            environment names a proxy that cannot be used.
    """

    def __init__(self, address: Address, timeout: float | None = None) -> None:
        self.address = address
        self._token = switch.token_of(address.token_file) if address.token_file else ""
        key = os.environ.get(API_KEY, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UsageError(API_KEY, "a key that is not shown", "printable ASCII, which a header can have")
        self._of_api = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            within = httpx.Timeout(timeout, connect=CONNECTING)
            self._http = httpx.Client(base_url=address.url, timeout=within, follow_redirects=False)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise UsageError("proxy", "that of the environment", f"one that httpx can use, or none ({error})") from None

    def close(self) -> None:
        self._http.close()

    @cached_property
    def facts(self) -> ServerFacts:
        """What it says of itself; what its API alone tells where it was started without the plugin.

        Raises:
            EnvironmentFailure: it cannot be reached, does not take the token, or speaks another protocol.
        """
        try:
            found = self._harness("GET", protocol.ROOT)
        except Refused as error:
            if error.status == 404:
                return self._by_api()
            if error.status == 401:
                file = self.address.token_file or "no file: name it with --token-file"
                raise EnvironmentFailure(
                    f"{self.address.url}: the server takes another token than that in {file}"
                ) from None
            raise EnvironmentFailure(f"{self.address.url}: {error}") from None
        spoken = found.get("protocol") if isinstance(found, dict) else None
        if spoken != protocol.VERSION:
            raise EnvironmentFailure(
                f"{self.address.url}: the server has another version of the harness, with protocol {spoken}; "
                f"this one speaks {protocol.VERSION}"
            )
        try:
            return typed.read(ServerFacts, found)
        except TypeError as error:
            raise EnvironmentFailure(
                f"{self.address.url}: the server has another version of the harness, of the same protocol: {error}"
            ) from None

    def _by_api(self) -> ServerFacts:
        try:
            release = self._asked("GET", "/version", None, self._of_api)["version"]
            (model, *_) = self._asked("GET", "/v1/models", None, self._of_api)["data"]
            name, root, longest = model["id"], model.get("root") or model["id"], model["max_model_len"]
        except (Refused, KeyError, TypeError, ValueError) as error:
            if isinstance(error, Refused) and error.status == 401:
                why = f"the server takes another key of its API than that in {API_KEY}"
                raise EnvironmentFailure(f"{self.address.url}: {why}") from None
            why = f"this is no `vllm serve` ({error}){self._without_v1}"
            raise EnvironmentFailure(f"{self.address.url}: {why}") from None
        return protocol.by_api(release, name, root, longest, scale_out=self._takes_tokens())

    @property
    def _without_v1(self) -> str:
        """What to do about the address of an API in place of that of its server."""
        bare = self.address.url.removesuffix("/v1")
        return "" if bare == self.address.url else f"; leave out the /v1: {bare}"

    def _takes_tokens(self) -> bool:
        try:
            self.generate({})
        except Refused as error:
            return error.status not in (403, 404)
        return True

    def begin(
        self, requests: list[str], longest: int | None, layers: list[int], positions: list[int], *, masks: bool
    ) -> str:
        """The ticket of an observation of ``requests``, as `Guest.expect` says. That of another client is waited for: it ends
        with its case, or some time after its client."""
        asked = {"requests": requests, "longest": longest, "layers": layers, "positions": positions, "masks": masks}
        end = time.monotonic() + WAITING
        while True:
            try:
                return typed.read(Begun, self._harness("POST", protocol.BEGIN, asked)).ticket
            except Refused as error:
                if error.status != 409 or time.monotonic() > end:
                    raise
            time.sleep(AGAIN * (0.5 + random.random()))  # noqa: S311 - two clients must not keep in step

    @contextmanager
    def kept(self, ticket: str) -> Iterator[None]:
        """Say meanwhile that this client goes on with an observation."""
        over = threading.Event()

        def says() -> None:
            while not over.wait(protocol.BEAT):
                with suppress(EnvironmentFailure, Refused):  # whoever asks for what was observed is told
                    self._harness("POST", protocol.KEEP, {"ticket": ticket})

        beside = threading.Thread(target=says, daemon=True)
        beside.start()
        try:
            yield
        finally:
            over.set()

    def collect(self, ticket: str) -> list[list[dict[str, Any]]]:
        """What each rank's `Guest.collect` answers, by engine, with stacks by their places."""
        return self._harness("POST", protocol.COLLECT, {"ticket": ticket})

    def fetch(self, ticket: str, place: int, engine: int, rank: int, path: Path) -> None:
        """Write the tensors that a rank of an engine saw of a request to ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        asked = {"ticket": ticket, "place": place, "engine": engine, "rank": rank}
        try:
            with self._http.stream("POST", protocol.FETCH, json=asked, headers=self._of_harness) as answer:
                if not answer.is_success:
                    answer.read()
                self._checked(answer)
                with path.open("wb") as file:
                    for piece in answer.iter_bytes():
                        file.write(piece)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def end(self, ticket: str) -> None:
        """Let the server forget an observation."""
        self._harness("POST", protocol.END, {"ticket": ticket})

    def generate(self, body: dict[str, Any], engine: int | None = None) -> dict[str, Any]:
        """Tokens in, tokens out; by one of several engines, or by that which the server chooses."""
        return self._asked("POST", protocol.GENERATE, body, self._to(body, engine))

    def complete(self, body: dict[str, Any], engine: int | None = None) -> dict[str, Any]:
        return self._asked("POST", "/v1/completions", body, self._to(body, engine))

    def chat(self, body: dict[str, Any], engine: int | None = None) -> dict[str, Any]:
        return self._asked("POST", "/v1/chat/completions", body, self._to(body, engine))

    def _to(self, body: dict[str, Any], engine: int | None) -> dict[str, str]:
        named = {REQUEST: body["request_id"]} if "request_id" in body else {}
        return self._of_api | named | ({} if engine is None else {ENGINE: str(engine)})

    @property
    def _of_harness(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _harness(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._asked(method, path, body, self._of_harness)

    def _asked(self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]) -> Any:
        """JSON.

        Raises:
            EnvironmentFailure: the server cannot be reached.
            Refused: it does not answer with JSON.
        """
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        self._checked(answer)
        try:
            return answer.json()
        except ValueError:
            raise Refused(answer.status_code, f"{path} answers with what is no JSON: {_line(answer.text)}") from None

    def _unreachable(self, error: httpx.HTTPError) -> EnvironmentFailure:
        if isinstance(error, httpx.ReadTimeout):
            return EnvironmentFailure(f"{self.address.url}: the server did not answer in time")
        why = _line(str(error)) or type(error).__name__
        return EnvironmentFailure(f"{self.address.url}: the server cannot be reached: {why}")

    def _checked(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        path = answer.request.url.path
        if answer.has_redirect_location:
            there = answer.headers["Location"]
            raise Refused(answer.status_code, f"{path} is elsewhere, which is not followed: {_line(there)}")
        try:
            said = answer.json()
            why = said.get("detail") or (said.get("error") or {}).get("message") or said
        except (ValueError, AttributeError):
            why = answer.text
        raise Refused(answer.status_code, f"{path} answers {answer.status_code}: {_line(str(why))}")


def _line(text: str) -> str:
    """What somebody else said, in one line that is not long."""
    return cut(" ".join(text.split()), SAID)
