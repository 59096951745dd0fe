"""A server as teams deploy one: compiled, of two tensor-parallel ranks, behind two API servers, with prefix caching."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from harness.engines.vllm.attach import protocol
from harness.families.registry import preset
from harness.verification.session import Session
from tests.engines.vllm.attach.commands import attach
from tests.engines.vllm.attach.served import How, Served, serving

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LONGEST = 128
HOW = How(
    "cpu",
    eager=False,
    more=("--api-server-count", "2", "--tensor-parallel-size", "2", "--max-model-len", str(LONGEST)),
)


@pytest.fixture(scope="module")
def server(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(session.checkpoint(preset("tiny")), tmp_path_factory.mktemp("served"), HOW) as served:
        yield served


def test_the_catalogue_is_verified_and_what_is_known_of_it_is_known(server: Served) -> None:
    code, found = attach(server, "--catalogue", "--known", "catalogue")
    verdicts = {one["case"]: one["verdict"] for one in found}
    assert code == 0, verdicts
    assert verdicts["no-image"] == "PASS" and verdicts["image-twice-window"] == verdicts["two-images"] == "KNOWN"
    assert "budget-70" in verdicts and "budget-140" not in verdicts
    settings = [(one["setting"]["mode"], one["setting"]["tensor_parallel"]) for one in found]
    assert set(settings) == {("compiled", 2)}


def test_the_second_time_is_served_from_the_prefix_cache(server: Served) -> None:
    code, found = attach(server, "--layout", "t90", "--times", "2")
    assert (code, found["verdict"]) == (0, "PASS"), found["diagnosis"]
    assert "positions came from the prefix cache" in found["diagnosis"]


def test_any_of_the_api_servers_knows_of_an_observation(server: Served) -> None:
    body = {"requests": ["harness-test-0123456789"]}
    for _ in range(6):
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=60) as one:
            ticket = one.post(protocol.BEGIN, json=body).json()["ticket"]
        with httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=60
        ) as other:
            assert other.post(protocol.BEGIN, json=body).status_code == 409
            assert other.post(protocol.END, json={"ticket": ticket}).status_code == 200
