"""What a client that is gone began is forgotten by the workers of a server, whether others have it serve something or not."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.engines.vllm.attach import observation, protocol

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_an_observation_is_over_when_nobody_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.engines.vllm.attach.endpoint import HarnessEndpoint
    from harness.engines.vllm.attach.extension import Attached, AttachExtension

    class Worker(AttachExtension):
        pass

    for module in (protocol, observation):
        monkeypatch.setattr(module, "LEASE", 0.5)
    worker = Worker()
    config = SimpleNamespace(parallel_config=SimpleNamespace(world_size=1))
    worker._harness_attached = attached = Attached(SimpleNamespace(vllm_config=config))
    (within := tmp_path / "within").mkdir()
    attached.current = observation.Observation(secrets.token_urlsafe(24), ["name"], within)
    ticket = attached.current.ticket

    async def ask(method: str, *args: object) -> list[list[object]]:
        return [[json.loads(worker.harness_attach(method, *args))["answer"]]]

    async def watched() -> None:
        endpoint = HarnessEndpoint()
        endpoint.workers = SimpleNamespace(ask=ask)
        watching = asyncio.create_task(endpoint._watch(ticket))
        for _ in range(8):
            await asyncio.sleep(0.2)
            assert await ask("keep", ticket) == [[True]] and within.is_dir()
        await asyncio.wait_for(watching, 5)

    asyncio.run(watched())
    assert attached.current is None and not within.exists()
