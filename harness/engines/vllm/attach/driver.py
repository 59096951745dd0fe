"""The serving driver whose engine is a server that runs already.

Run as ``PYTHON -m harness.engines.vllm.attach.driver READ_FD WRITE_FD``.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from harness.captures import stack, write
from harness.captures.facts import AfterModel, Facts, Loaded, ProcessedFacts, PromptFacts
from harness.captures.selection import chosen
from harness.drivers import channel
from harness.drivers.messages import Captured, Done, LayOverlays, LoadEngine, Request, RunEngine, Stored
from harness.engines.vllm import collected
from harness.engines.vllm.attach import api
from harness.engines.vllm.attach.client import Address, Refused, Server
from harness.engines.vllm.attach.protocol import ENGINE, TOKEN_FILE, URL
from harness.engines.vllm.attach.requests import Asked, Requests
from harness.errors import EnvironmentFailure, UsageError
from harness.families.content import content
from harness.families.registry import of_type
from harness.files import typed
from harness.masks.observed import ProbeError
from harness.prompts.prompt import Prompt


class AttachedEngine:
    """One server, and what is asked of it: of its data-parallel engines in turn, or of one of them."""

    def __init__(self, address: Address, engine: int | None = None) -> None:
        self.server = Server(address)
        self.engine = engine
        self.most = api.MOST

    def load(self, request: LoadEngine) -> Done:
        """Make sure that the server is there."""
        from transformers import AutoConfig

        facts = self.server.facts
        if facts.problem:
            raise RuntimeError(f"{self.server.address.url}: the server cannot be observed: {facts.problem}")
        config = AutoConfig.from_pretrained(request.checkpoint, trust_remote_code=False)
        family = of_type(config.model_type)
        if family is None:
            raise RuntimeError(f"no family has models of the type {config.model_type!r}")
        self.width = config.get_text_config().vocab_size
        self.checkpoint = request.checkpoint
        every = range(facts.engines) if self.engine is None else [self.engine]
        self.engines = cycle(every if facts.engines > 1 else [None])
        self.requests = Requests(facts, family.serving_side(config.model_type), config)
        self.side = collected.Side(
            facts.versions, Loaded(facts.content or content(request.checkpoint), facts.weights), facts.engine
        )
        return Done()

    def overlay(self, request: LayOverlays) -> Done:
        raise UsageError("overlay", ", ".join(request.overlays), "none on a server that others use")

    def run(self, request: RunEngine) -> Captured:
        """Have prompts served beside what the server serves anyway, one after another, and capture them."""
        captured = self._told if self.side.engine.by_api else self._captured
        return Captured(tuple(captured(prompt, request, place) for place, prompt in enumerate(request.prompts)))

    def _captured(self, prompt: Prompt, request: RunEngine, place: int) -> Stored:
        salt = secrets.token_urlsafe(32)
        every = [self.requests.of(prompt, f"harness-{secrets.token_hex(16)}", salt) for _ in range(request.times)]
        longest, engine = len(prompt.token_ids) or None, next(self.engines)
        with self._observation([one.name for one in every], longest, request) as ticket:
            start = time.perf_counter()
            for one in every:
                one.send(self.server, engine)
            served = time.perf_counter() - start
            engines = self.server.collect(ticket)
            last = len(every) - 1
            name = every[last].name
            number, ranks = _seen(engines, name)
            out = request.out / str(place)
            self._fetch(ticket, last, number, len(ranks), out)
        of_prompts = ranks[0]["prompts"]
        token_ids = of_prompts[name]["token_ids"]
        made = of_prompts[every[0].name]["processed"] if prompt.text is not None else None  # later ones are cached
        processed = None if made is None else replace(typed.read(ProcessedFacts, made), pieces=self._pieces(token_ids))
        rows = chosen(request.positions, len(token_ids))
        side = replace(self.side, engine=replace(self.side.engine, number=number, count=len(engines)))
        facts = collected.of_stack(collected.facts(ranks, side, served), ranks, str(last), rows)
        stack.write_facts(out, facts, [collected.of_prompt(ranks, name, token_ids, processed)])
        return Stored(out, 0)

    def _pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.checkpoint, trust_remote_code=False)
        return tuple(map(str, tokenizer.convert_ids_to_tokens([*token_ids])))

    def _told(self, prompt: Prompt, request: RunEngine, place: int) -> Stored:
        """What the API tells of a prompt, the last time that it is asked."""
        salt = secrets.token_urlsafe(32)
        every = [self.requests.of(prompt, f"harness-{secrets.token_hex(16)}", salt) for _ in range(request.times)]
        start = time.perf_counter()
        answers = [self._scored(one) for one in every]
        seconds = {"serving": time.perf_counter() - start, "serving probing": 0.0}
        found = api.Answered.of(every[-1].way, answers[-1])
        rows, out = chosen(request.positions, len(found.token_ids)), request.out / str(place)
        stack.save(out / "capture.safetensors", found.tensors(rows, self.width))
        facts = Facts(
            layers=(), logits_at=tuple(rows), versions=self.side.versions, seconds=seconds, loaded=self.side.loaded,
            after=AfterModel(()), head=None, engine=self.side.engine, log_probabilities=True,
        )  # fmt: skip
        stack.write_facts(out, facts, [PromptFacts(found.token_ids)])
        return Stored(out, 0)

    def _scored(self, one: Asked) -> dict[str, Any]:
        """The answer to a request with as many log-probabilities as the server gives."""
        try:
            return replace(one, body=api.asking(one.way, one.body, self.most)).send(self.server)
        except Refused as error:
            fewer = api.allowed(str(error))
            if fewer is None or fewer >= self.most:
                raise
        self.most = fewer
        return self._scored(one)

    @contextmanager
    def _observation(self, names: Sequence[str], longest: int | None, request: RunEngine) -> Iterator[str]:
        ticket = self.server.begin([*names], longest, [*request.layers], [*request.positions], masks=request.masks)
        try:
            with self.server.kept(ticket):
                yield ticket
        finally:
            with suppress(EnvironmentFailure, Refused):  # it is over without this too, and what was fetched is whole
                self.server.end(ticket)

    def _fetch(self, ticket: str, place: int, engine: int, ranks: int, out: Path) -> None:
        for rank in range(ranks):
            name = "capture" if ranks == 1 else f"rank{rank}"
            self.server.fetch(ticket, place, engine, rank, out / f"{name}.safetensors")
        if ranks > 1:
            write.join(out, ranks)


def _seen(engines: list[list[dict[str, Any]]], name: str) -> tuple[int, list[dict[str, Any]]]:
    """Which engine served the request ``name``, and what its ranks saw.

    Raises:
        ProbeError, RuntimeError: nothing was seen.
    """
    for ranks in engines:
        _check(ranks)
    found = [(number, ranks) for number, ranks in enumerate(engines) if name in ranks[0]["prompts"]]
    if len(found) != 1:
        raise RuntimeError(
            f"the server answered {name}, and {len(found) or 'no'} engines have seen it; a proxy in front of it that gives "
            "requests an X-Request-Id of its own hides them: name an address behind that"
        )
    return found[0]


def _check(ranks: list[dict[str, Any]]) -> None:
    """Raise ProbeError or RuntimeError where what was observed is nothing."""
    if failure := collected.failure(ranks):
        raise ProbeError(failure)
    if missing := collected.missing(ranks):
        raise RuntimeError(
            f"could not be observed: {', '.join(missing)} (the step ran where hooks are not called, as in a full CUDA graph; "
            "--observe logits --logits-at -1 has what the server samples from)"
        )


def handlers(engine: AttachedEngine) -> dict[type[Request], channel.Handler]:
    """What each request is answered by."""
    return {LoadEngine: engine.load, LayOverlays: engine.overlay, RunEngine: engine.run}


def main() -> None:
    address = Address(os.environ[URL], os.environ[TOKEN_FILE])
    engine = AttachedEngine(address, int(os.environ[ENGINE]) if os.environ[ENGINE] else None)
    channel.serve(handlers(engine), int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
