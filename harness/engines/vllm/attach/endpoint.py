"""The entry point in `vllm.endpoint_plugins`: routes on the server's own port, for whoever has the token.

vLLM calls it only where `VLLM_PLUGINS` names it, and it adds no route unless `switch` is on. Whatever an observation needs to
be known by is in the workers, so that it does not matter which of several API servers answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from argparse import Namespace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from vllm.platforms import current_platform

from harness.captures.facts import EngineFacts
from harness.engines.vllm import loaded, releases
from harness.engines.vllm.attach import protocol, switch
from harness.engines.vllm.attach.door import Door
from harness.engines.vllm.attach.observable import of_another_model, of_other_messages, unobservable
from harness.engines.vllm.attach.protocol import Begun, ServerFacts
from harness.engines.vllm.attention_backends import serving_with
from harness.families.content import content
from harness.files import typed

PATIENCE = 300.0
"""Seconds that workers may take to answer."""
GLANCE = 0.05
"""Seconds between two looks whether a file is whole."""
FARTHEST = (1 << 31) - 1
"""The largest number that workers are told: of a layer, a position or a rank."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Begin(_Body):
    """Observe ``requests``, whose names end with these, as `Guest.expect` says."""

    requests: list[Annotated[str, Field(pattern=protocol.NAME)]] = Field(
        min_length=1, max_length=protocol.MOST_REQUESTS
    )
    longest: int | None = Field(default=None, ge=1, le=FARTHEST)
    layers: list[Annotated[int, Field(ge=0, le=FARTHEST)]] = Field(default=[], max_length=protocol.MOST_LAYERS)
    positions: list[Annotated[int, Field(ge=-FARTHEST, le=FARTHEST)]] = Field(
        default=[], max_length=protocol.MOST_POSITIONS
    )
    masks: bool = True


class Ticket(_Body):
    """Which observation is meant."""

    ticket: Annotated[str, Field(pattern=protocol.TICKET)]


class Fetch(Ticket):
    """What rank ``rank`` of ``engine`` saw of the request at ``place``."""

    engine: Annotated[int, Field(ge=0, le=FARTHEST)]
    place: Annotated[int, Field(ge=0, le=protocol.MOST_REQUESTS)]
    rank: Annotated[int, Field(ge=0, le=FARTHEST)]


class Workers:
    """The workers of the engines, asked through the server's own client."""

    def __init__(self, client: Any, args: Namespace, app: FastAPI) -> None:
        self.client = client
        self.args = args
        self.app = app

    async def ask(self, method: str, *args: object) -> list[list[Any]]:
        """What each worker's `Attached` answers, by engine.

        Raises:
            HTTPException: 500 with the reason that one has not to answer.
        """
        asked = await releases.ask_every_engine(self.client, "harness_attach", PATIENCE, (method, *args))
        engines = [[*map(json.loads, ranks)] for ranks in asked]
        for rank in chain.from_iterable(engines):
            if "failed" in rank:
                raise HTTPException(500, f"a worker that was asked to {method}: {rank['failed']}")
        return [[rank["answer"] for rank in ranks] for ranks in engines]

    @cached_property
    def _content(self) -> asyncio.Task[str]:
        return asyncio.create_task(asyncio.to_thread(content, self.client.vllm_config.model_config.model))

    @property
    def problem(self) -> str:
        """Why this server cannot be observed."""
        config = self.client.vllm_config
        return unobservable(config.parallel_config) or of_another_model(config.model_config)

    @property
    def longest(self) -> int:
        """The most tokens of a request."""
        return self.client.vllm_config.model_config.max_model_len

    async def facts(self) -> ServerFacts:
        config = self.client.vllm_config
        model, cache, parallel = config.model_config, config.cache_config, config.parallel_config
        engines = [] if self.problem else await self.ask("facts")
        ranks = [*chain.from_iterable(engines)]
        unknown = {"versions": {"vllm": releases.version()}, "runner": "auto"}
        first: dict[str, Any] = ranks[0] if ranks else unknown
        known = serving_with(sorted({name for rank in ranks for name in rank["implementations"]}))
        platform = "cpu" if current_platform.is_cpu() else "cuda"
        backend = (known.name if platform == "cpu" else known.vllm_name) if known else "auto"
        return ServerFacts(
            protocol=protocol.VERSION,
            problem=self.problem,
            unlike=of_other_messages(self.args, model.multimodal_config),
            model=str(Path(model.model).absolute() if Path(model.model).is_dir() else model.model),
            served_as=(self.args.served_model_name or [str(model.model)])[0],
            content=await self._content,
            platform=platform,
            dtype=str(model.dtype).removeprefix("torch."),
            kv_dtype=str(cache.cache_dtype),
            mode="eager" if model.enforce_eager else "compiled",
            tensor_parallel=parallel.tensor_parallel_size,
            pipeline_parallel=parallel.pipeline_parallel_size,
            engines=len(engines),
            block_size=cache.block_size,
            prefix_caching=bool(cache.enable_prefix_caching),
            step=config.scheduler_config.max_num_batched_tokens,
            longest=self.longest,
            scale_out=any(getattr(route, "path", "") == protocol.GENERATE for route in self.app.routes),
            versions=first["versions"],
            engine=EngineFacts(first["runner"], backend),
            weights=loaded.joined(rank["weights"] for rank in ranks),
        )


class HarnessEndpoint:
    """What vLLM asks of an endpoint plugin."""

    name = switch.PLUGIN
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self.app: FastAPI | None = None
        self.workers: Workers | None = None
        self.watching: set[asyncio.Task[None]] = set()

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes.

        Raises:
            UsageError: there is no token that could be kept secret; the server does not start then.
        """
        if not switch.is_on():
            return
        self.app = app
        door = Door(switch.token_of(os.environ[switch.SWITCH]))
        for path, method, answer, body in (
            (protocol.ROOT, "GET", self.facts, None),
            (protocol.BEGIN, "POST", self.begin, Begin),
            (protocol.COLLECT, "POST", self.collect, Ticket),
            (protocol.FETCH, "POST", self.fetch, Fetch),
            (protocol.KEEP, "POST", self.keep, Ticket),
            (protocol.END, "POST", self.end, Ticket),
        ):
            app.add_route(path, door.to(answer, body), methods=[method], include_in_schema=False)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        if self.app is not None:
            self.workers = Workers(engine_client, args, self.app)

    async def facts(self) -> JSONResponse:
        return _answer(await self._workers.facts())

    async def begin(self, asked: Begin) -> JSONResponse:
        workers = self._workers
        if workers.problem:
            raise HTTPException(501, workers.problem)
        if asked.longest is not None and asked.longest > workers.longest:
            raise HTTPException(422, f"longest: at most {workers.longest}, which is the server's --max-model-len")
        ticket = secrets.token_urlsafe(24)
        try:
            answers = await workers.ask(
                "begin", ticket, asked.requests, asked.longest, asked.layers, asked.positions, asked.masks
            )
        except Exception:  # other engines may have begun, and would refuse the next observation
            await workers.ask("end", ticket)
            raise
        refused = next(filter(None, chain.from_iterable(answers)), "")
        if refused:  # by some engines, where another API server asked the others first
            await workers.ask("end", ticket)
            raise HTTPException(409, refused)
        task = asyncio.create_task(self._watch(ticket))
        self.watching.add(task)
        task.add_done_callback(self.watching.discard)
        return _answer(Begun(ticket))

    async def _watch(self, ticket: str) -> None:
        """Let workers forget an observation that nobody goes on with, whether the server has something to do or not. What a client
        said before is heard before this question, since an engine answers in turn."""
        left = protocol.LEASE
        while left:
            await asyncio.sleep(left)
            try:
                left = max(chain.from_iterable(await self._workers.ask("left", ticket)))
            except Exception:  # noqa: BLE001 - an engine that is busy is asked again; one that is gone ends with its server
                left = protocol.LEASE

    async def collect(self, asked: Ticket) -> JSONResponse:
        engines = await self._workers.ask("collect", asked.ticket)
        if any(None in ranks for ranks in engines):
            raise _unknown()
        while not all(map(all, await self._workers.ask("saved", asked.ticket))):
            await asyncio.sleep(GLANCE)
        return JSONResponse(engines)

    async def fetch(self, asked: Fetch) -> FileResponse:
        paths = await self._workers.ask("path", asked.ticket, asked.place)
        ranks = paths[asked.engine] if asked.engine < len(paths) else []
        path = ranks[asked.rank] if asked.rank < len(ranks) else ""
        if not path:
            raise _unknown()
        if not Path(path).is_file():
            raise HTTPException(501, "the worker that observed is on another host than this API server")
        return FileResponse(path, media_type="application/octet-stream")

    async def keep(self, asked: Ticket) -> JSONResponse:
        if not all(chain.from_iterable(await self._workers.ask("keep", asked.ticket))):
            raise _unknown()
        return JSONResponse({})

    async def end(self, asked: Ticket) -> JSONResponse:
        await self._workers.ask("end", asked.ticket)
        return JSONResponse({})

    @property
    def _workers(self) -> Workers:
        assert self.workers, "vLLM has called init_state"
        return self.workers


def _unknown() -> HTTPException:
    return HTTPException(404, "there is no such observation, or it is over")


def _answer(found: object) -> JSONResponse:
    return JSONResponse(json.loads(typed.dumps(found)))
