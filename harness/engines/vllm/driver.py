"""The serving driver: the real vLLM engine (scheduler, model runner, paged KV cache) and the same captures.

Run as ``PYTHON -m harness.engines.vllm.driver READ_FD WRITE_FD``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from harness.captures import write
from harness.captures.facts import EngineFacts, Loaded, ProcessedFacts
from harness.captures.selection import chosen
from harness.captures.stack import write_facts
from harness.drivers import channel
from harness.drivers.messages import (
    AskImported,
    AskMemory,
    Captured,
    Changeable,
    ChangeableTensors,
    ChangeTensor,
    Done,
    ImportAhead,
    Imported,
    LayOverlays,
    LoadEngine,
    Part,
    PeakMemory,
    Request,
    RunEngine,
    ServedPlainly,
    ServePlainly,
    Stored,
)
from harness.engines.vllm import ahead, blocks, collected, items, loaded, releases
from harness.engines.vllm.arguments import ASYNCHRONOUS
from harness.engines.vllm.cpu import backends, scheduling
from harness.engines.vllm.processing import Processing
from harness.errors import OverlayRefused
from harness.families import adapter
from harness.families.base import ServingSide
from harness.families.content import Unchanged, content
from harness.families.registry import of_type
from harness.masks.observed import ProbeError
from harness.prompts.prompt import Prompt
from harness.prompts.scenario import MTP


@dataclass(frozen=True)
class _Asked:
    """A prompt, and the ``entry`` that the engine takes of it."""

    prompt: Prompt
    entry: Any

    @property
    def token_ids(self) -> list[int]:
        """Of all positions that the engine computes."""
        return [*self.entry["prompt_token_ids"], *self.prompt.continuation]


class _NotCalled(RuntimeError):
    """A step ran where hooks are not called."""

    def __init__(self, missing: Sequence[str], *, caching: bool) -> None:
        why = "the step ran where hooks are not called"
        if caching:
            why += "; with the prefix cache on the sampler does not score a prompt, and --logits-at -1 has what it samples from"
        super().__init__(f"could not be observed: {', '.join(missing)} ({why})")


class Engine:
    """One engine for one checkpoint and serving setting."""

    def __init__(self) -> None:
        self.llm: Any = None
        self.count = 0
        self.adapter: Any = None
        """What a request is served with that has the adapter of the checkpoint, where the engine takes one."""
        self.adapted: frozenset[str] = frozenset()
        """The requests that have it."""
        self.ranks = 1
        self.made: dict[str, ProcessedFacts] = {}
        """What the processor made of each prompt that is a text."""
        self.alone = False
        """The only worker lives in this process, so that it can be asked beside the next step."""
        self.together: Sequence[Prompt] = ()
        """The prompts whose images a release takes as one tensor."""
        self.engine = EngineFacts()
        self.unhooked = False
        """Some step ran where hooks are not called, as in a full CUDA graph: the sampler is asked for logits from the start."""
        self.scored: frozenset[str] = frozenset()
        """The requests of which the sampler scores the prompt."""
        self.salt: str | None = None
        """Keeps what different overlays and changes of tensors left in the prefix cache and the encoder cache apart."""

    def imported(self, request: AskImported) -> Imported:
        return Imported(ahead.imported())

    def import_ahead(self, request: ImportAhead) -> Done:
        ahead.import_ahead(request.modules)
        return Done()

    def load(self, request: LoadEngine) -> Done:
        """Start vLLM, then install the observer."""
        backends.register()
        if request.platform == "cpu" and request.arguments.get(ASYNCHRONOUS):
            scheduling.asynchronous()
        from vllm import LLM

        files = Unchanged.since_now(request.checkpoint)
        self.llm = LLM(
            model=request.checkpoint,
            worker_extension_cls="harness.engines.vllm.worker.ObserverExtension",
            **self._with_drafter(request),
        )
        self.config = self.llm.llm_engine.model_config.hf_config
        self.family = _family(self.config.model_type)
        self.observe = request.observe
        if request.arguments.get("enable_lora"):
            self.adapter = self._adapter(request.checkpoint)
        self.processing = Processing(self.llm, self.family, getattr(torch, request.arguments["dtype"]))
        installed = self.llm.collective_rpc("harness_install") if self.observe else []
        self.ranks = len(installed)
        self.alone = {rank["process"] for rank in installed} == {os.getpid()}
        held = loaded.joined(rank["weights"] for rank in installed)
        self.loaded = Loaded(content(request.checkpoint), held)
        files.check()
        if installed:
            releases.check_runner(request.runner, installed[0]["runner"])
            backend = releases.backend_of(request.backend, installed[0]["implementations"])
            self.engine = EngineFacts(installed[0]["runner"], request.backend if request.platform == "cpu" else backend)
        self.versions = {"vllm": releases.version(), "serving torch": torch.__version__}
        for name in ("triton", "transformers"):
            module = sys.modules.get(name)
            if module is not None:
                self.versions[f"serving {name}"] = module.__version__
        return self.overlay(LayOverlays(request.overlays))

    def _with_drafter(self, request: LoadEngine) -> dict[str, Any]:
        """The engine's arguments; where a model drafts it is written first, into a directory that goes with this process."""
        drafts = request.arguments.get("speculative_config", {})
        if drafts.get("method") != MTP:
            return request.arguments
        checkpoint, self.drafter = Path(request.checkpoint), TemporaryDirectory()
        kind = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["model_type"]
        written = _family(kind).drafter(checkpoint, Path(self.drafter.name))
        return request.arguments | {"speculative_config": {**drafts, "model": str(written)}}

    def overlay(self, request: LayOverlays) -> Done:
        """Lay overlays over the workers.

        Raises:
            OverlayRefused: one does not fit; then none lies there.
        """
        self.salt = None
        refused = next(filter(None, self.llm.collective_rpc("harness_overlay", args=(request.overlays,))), None)
        if refused:
            raise OverlayRefused(refused)
        self.salt = "+".join(request.overlays) or None
        return Done()

    def memory(self, request: AskMemory) -> PeakMemory:
        return PeakMemory(max(self.llm.collective_rpc("harness_memory")))

    def changeable(self, request: ChangeableTensors) -> Changeable:
        """The tensors of the worker's model beside those of the checkpoint (`harness.engines.vllm.changes`).

        Raises:
            RuntimeError: there are several workers, each with a share of the tensors.
        """
        if self.ranks != 1:
            raise RuntimeError("tensors are changed in an engine of one rank")
        found = self.llm.collective_rpc("harness_changeable_tensors", args=(request.checkpoint,))[0]
        return Changeable(tuple(Part(**part) for part in found["parts"]), tuple(found["not loaded"]))

    def change(self, request: ChangeTensor) -> Done:
        """Change a tensor, or put everything back."""
        self.llm.collective_rpc("harness_change", args=(request.name, request.by))
        self.salt = f"{request.name} {request.by}" if request.name else None
        return Done()

    def serve_plainly(self, request: ServePlainly) -> ServedPlainly:
        self.together = request.prompts if releases.stacks_images() else ()
        return ServedPlainly(self._served(self._named("plain", request.prompts)))

    def run(self, request: RunEngine) -> Captured | channel.Later[Captured]:
        """Serve prompts and capture them: a second time, judged by their logits alone, where hooks were not called in the first."""
        if request.masks and not self.unhooked:
            try:
                return self._captured(request, masks=True)
            except _NotCalled:
                self.unhooked = True
        return self._captured(request, masks=False)

    def _captured(self, request: RunEngine, *, masks: bool) -> Captured | channel.Later[Captured]:
        """Serve prompts and capture them. Without ``masks`` they need none: the sampler's logits are asked for, and hooks that
        are called all the same are heard unless the request says otherwise.

        Raises:
            _NotCalled: some mask or logits were not seen, and they have to be.
        """
        batch = (*request.mates, *request.prompts, *request.after)
        self.together = (*batch, *request.history) if releases.stacks_images() else ()
        again = [self._named("past", batch) for _ in range(request.times - 1)]
        past = [*(self._named("past", [prompt]) for prompt in request.history), *again]
        ready = self._named("case", request.prompts)
        before, after = self._named("before", request.mates), self._named("after", request.after)
        given = self._given({name: one for some in (*past, ready, before, after) for name, one in some.items()})
        self.made = {
            name: self.processing.facts(asked.entry) for name, asked in ready.items() if asked.prompt.text is not None
        }
        ids = {name: asked.token_ids for name, asked in ready.items()}
        longest = request.longest or max(map(len, ids.values()))
        rows = {name: chosen(request.positions, len(tokens)) for name, tokens in ids.items()}
        asked = (
            {name: len(tokens) for name, tokens in ids.items()},
            longest,
            request.layers,
            rows,
            given,
            request.masks,
        )
        self.llm.collective_rpc("harness_begin", args=asked)
        releases.empty_prefix_cache(self.llm)
        last = {**before, **ready, **after}
        self.adapted = frozenset(name for one in (*again, last) for name in request.adapted([*one]))
        batches = [*past, last]
        self.scored = frozenset(ready) if self._scores and not masks else frozenset()
        served = sum(map(self._served_in_poison if request.poison else self._served, batches))
        return self._collected(request.out, ids, rows, served, masks=masks)

    def _named(self, kind: str, prompts: Sequence[Prompt]) -> dict[str, _Asked]:
        """The requests of prompts, by the names that they will have."""
        self.count += 1
        return {f"{kind}{self.count}x{place}": _Asked(one, self._input(one)) for place, one in enumerate(prompts)}

    def _given(self, requests: dict[str, _Asked]) -> dict[str, tuple[int, list[int]]]:
        """The tokens that requests go on with, and from which position on."""
        return {
            name: (len(asked.token_ids) - len(asked.prompt.continuation), list(asked.prompt.continuation))
            for name, asked in requests.items()
            if asked.prompt.continuation
        }

    def _served_in_poison(self, requests: dict[str, _Asked]) -> float:
        """As `_served`, with NaN in all that is free before each step; what is free in the end is clean again for others."""
        try:
            return self._served(requests, lambda: self._fill(blocks.POISON))
        finally:
            self._fill(blocks.CLEAN)

    def _fill(self, value: float) -> None:
        self.llm.collective_rpc("harness_fill", args=(*releases.free_blocks(self.llm), value))

    def _served(self, requests: dict[str, _Asked], before_step: Callable[[], None] = lambda: None) -> float:
        """Serve requests together; the seconds that it took."""
        start = time.perf_counter()
        for name, asked in requests.items():
            self._add(name, asked.entry, len(asked.prompt.continuation) + 1, scores=name in self.scored)
        while self.llm.llm_engine.has_unfinished_requests():
            before_step()
            self.llm.llm_engine.step()
        return time.perf_counter() - start

    def _collected(
        self, out: Path, ids: dict[str, list[int]], rows: dict[str, list[int]], served: float, *, masks: bool
    ) -> Captured | channel.Later[Captured]:
        """The answer for prompts that were observed; their captures are written beside what is asked next."""
        lengths: dict[int, list[str]] = {}
        for name, token_ids in ids.items():
            lengths.setdefault(len(token_ids), []).append(name)
        stacks = {str(out / str(number)): names for number, names in enumerate(lengths.values())}
        ranks = self.llm.collective_rpc("harness_collect", args=(stacks, self.ranks, masks))
        failure, missing = collected.failure(ranks), collected.missing(ranks)
        if failure or missing:
            self.llm.collective_rpc("harness_saved", args=(ranks[0]["collected"],))
            raise ProbeError(failure) if failure else _NotCalled(missing, caching=self._caches)
        facts = collected.facts(ranks, collected.Side(self.versions, self.loaded, self.engine), served)
        where = {
            name: Stored(Path(directory), place)
            for directory, names in stacks.items()
            for place, name in enumerate(names)
        }

        made = self.made

        def finish() -> None:
            self.llm.collective_rpc("harness_saved", args=(ranks[0]["collected"],))
            for directory, names in stacks.items():
                if self.ranks > 1:
                    write.join(Path(directory), self.ranks)
                own = [collected.of_prompt(ranks, name, ids[name], made.get(name)) for name in names]
                of_stack = collected.of_stack(facts, ranks, directory, rows[names[0]])
                write_facts(Path(directory), of_stack, own)

        answer = Captured(tuple(where[name] for name in ids))
        if self.alone:
            return channel.Later(answer, finish)
        finish()
        return answer

    @property
    def _caches(self) -> bool:
        """The prefix cache is on: what asks for the scores of its prompt does not read it."""
        return self.llm.llm_engine.vllm_config.cache_config.enable_prefix_caching

    @property
    def _scores(self) -> bool:
        """The sampler can be asked for the scores of a prompt: all of it is computed, by all layers."""
        return not self._caches and not releases.prefills_fast(self.llm.llm_engine.vllm_config)

    def _add(self, name: str, entry, tokens: int, *, scores: bool) -> None:
        """Add a request that ends after as many ``tokens``: the last of those that it is given is computed when another one is
        sampled. With ``scores`` the sampler scores every token of the vocabulary at all positions of its prompt."""
        from vllm import SamplingParams

        asked = {"prompt_logprobs": self.llm.llm_engine.model_config.get_vocab_size()} if scores else {}
        sampling = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True, **asked)
        with_it = {"lora_request": self.adapter} if name in self.adapted else {}
        self.llm.llm_engine.add_request(name, entry, sampling, **with_it)

    def _adapter(self, checkpoint: str) -> Any:
        """Draw the adapter of a checkpoint, into a directory that goes with this process."""
        from vllm.lora.request import LoRARequest

        self.drawn = TemporaryDirectory()
        return LoRARequest("drawn", 1, str(adapter.write(Path(self.drawn.name), adapter.shapes(checkpoint))))

    def _input(self, prompt: Prompt):
        if prompt.text is not None:
            return self.processing.processed(prompt, self.salt)
        if not prompt.items:
            return releases.text_input(list(prompt.token_ids), self.salt)
        placed = items.placed(prompt, self.together, self.family, self.config, self.salt)
        return releases.engine_input(list(prompt.token_ids), placed.items, placed.hashes, placed.places, self.salt)


def _family(model_type: str) -> ServingSide:
    family = of_type(model_type)
    if family is None:
        raise RuntimeError(f"no family has models of the type {model_type!r}")
    return family.serving_side(model_type)


def handlers(engine: Engine) -> dict[type[Request], channel.Handler]:
    """What each request is answered by."""
    return {
        AskImported: engine.imported,
        ImportAhead: engine.import_ahead,
        LoadEngine: engine.load,
        LayOverlays: engine.overlay,
        ChangeableTensors: engine.changeable,
        ChangeTensor: engine.change,
        RunEngine: engine.run,
        ServePlainly: engine.serve_plainly,
        AskMemory: engine.memory,
    }


def main() -> None:
    channel.serve(handlers(Engine()), int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
