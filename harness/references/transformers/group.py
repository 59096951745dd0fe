"""Prompts that are run together: their passes, and what is captured of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch

from harness.captures import write
from harness.captures.facts import ATTENTION_VALUES, LayerFacts, PromptFacts
from harness.captures.selection import chosen
from harness.drivers.messages import RunReference
from harness.drivers.stopwatch import Stopwatch
from harness.prompts.prompt import Prompt
from harness.references.transformers import (
    attention,
    calling,
    decoding,
    forcing,
    kv_cache,
    layerwise,
    memory,
    observing,
    passes,
    precision,
    routing,
)
from harness.references.transformers.loading import Loaded
from harness.references.transformers.offloading import Offloaded
from harness.references.transformers.passes import Around, Pass


class Group:
    """Prompts of one length that are run together, and what is captured of them into the stack ``directory``."""

    def __init__(self, loaded: Loaded, prompts: list[Prompt], directory: Path, asked: RunReference) -> None:
        self._loaded = loaded
        self._prompts = prompts
        self._directory = directory
        self._arguments, self._processed = calling.arguments(loaded, prompts)
        self._tokens = self._arguments["input_ids"].shape[1]
        self._rows = chosen(asked.positions, self._tokens)
        self._observed = observing.Observed(loaded.device, asked.layers)
        self._forced = asked.forced
        self._caching = asked.caching
        self.prompts = len(prompts)
        self.passes = self._passes(asked.samples)

    def run(self) -> Callable[[], None]:
        """Run the prompts through models that are loaded whole; what is returned waits for the GPU and writes the captures."""
        whole = Stopwatch(self._loaded.device)
        with whole.on():
            logits = passes.run(self.passes)
            cached = {} if self._forced else self._with_cache()
        return self.keep(logits, lambda: whole.seconds() / len(self._prompts), cached)

    def _passes(self, samples: int) -> list[Pass]:
        """The model in the serving dtype, observed, and once more for each further sample of the noise floor; the truth, and with
        experts once more with their ties decided the other way."""
        loaded = self._loaded
        window = loaded.model.config.get_text_config().sliding_window
        masks = forcing.masks(self._forced, self._tokens, window, loaded.device) if self._forced else {}
        forced = partial(forcing.laid_over, loaded.family, self._forced, masks)
        own = forcing.IMPLEMENTATION if self._forced else loaded.of.attention
        as_forced = partial(attention.implemented, loaded.family, loaded.model, own) if self._forced else nullcontext
        at = torch.tensor(self._rows, device=loaded.device)
        rounded: list[torch.Tensor] = []
        exact: list[torch.Tensor] = []
        by_rows = partial(attention.by_rows, loaded.family.modeling)
        cached = (as_forced, by_rows, forced, partial(_as_cached, loaded, own))
        higher = (
            partial(precision.kept, loaded.truth.dtype),
            partial(attention.unrounded, loaded.family.modeling),
            forced,
        )

        @contextmanager
        def watched() -> Iterator[None]:
            with self._observed.layers_of(loaded, own), routing.recorded(loaded.routers, rounded):
                yield

        def run(name: str, model: torch.nn.Module, within: tuple[Around, ...], watched: Around = nullcontext) -> Pass:
            return Pass(name, model, partial(calling.forward, loaded, model, self._arguments, at), within, watched)

        made = [run("logits", loaded.model, cached, watched)]
        if samples > 1:
            other = attention.OTHER[loaded.of.attention]
            implemented = partial(attention.implemented, loaded.family, loaded.model, other)
            made.append(run("again.logits", loaded.model, (by_rows, partial(_as_cached, loaded, other), implemented)))
        routers = loaded.routers_of_truth
        made.append(run("truth.logits", loaded.truth, higher, partial(routing.recorded, routers, exact)))
        if routers:
            made.append(run("routed.logits", loaded.truth, higher, partial(routing.swapped, routers, exact, rounded)))
        if loaded.device.type == "cuda" and loaded.dtype == torch.float32:
            made.append(run("tf32.logits", loaded.model, (*cached, precision.tf32)))
        return made

    def _with_cache(self) -> dict[str, torch.Tensor]:
        """Logits from the reference's own cache, where that is asked for or prompts are continued; masks where it is asked for."""
        loaded, steps, tokens = self._loaded, len(self._prompts[0].continuation), self._tokens
        if not steps and not self._caching:
            return {}
        whole = self._caching is not None
        first = 0 if whole else tokens - steps - 1
        watched = decoding.observed(loaded, tokens) if whole else loaded.family.masked(loaded.model)
        with attention.by_rows(loaded.family.modeling), _as_cached(loaded, loaded.of.attention), watched as observed:
            logits = decoding.run(loaded, self._arguments, steps, self._caching or decoding.DYNAMIC, whole=whole)
        masks = observed.masks() if observed else {}
        every = {f"cached.mask.{index}": mask for index, mask in masks.items()}
        return {"cached.logits": logits[:, [row - first for row in self._rows if row >= first]], **every}

    def keep(
        self,
        logits: Sequence[torch.Tensor],
        took: Callable[[], float],
        more: Mapping[str, torch.Tensor] = MappingProxyType({}),
    ) -> Callable[[], None]:
        """Begin to keep the ``logits`` of the passes and what was observed meanwhile; what is returned waits for it and writes it.
        ``took`` says how many seconds a prompt took."""
        loaded, observed = self._loaded, self._observed
        tensors: dict[str, torch.Tensor] = {**more}
        for one, found in zip(self.passes, logits, strict=True):
            tensors[one.name] = found.to(torch.float32) if one.model is loaded.truth else found
        kept = []
        for index, seen in sorted(observed.layers.items()):
            tensors[f"mask.{index}"] = seen["mask"].mask
            if seen["attention"][0].numel() <= ATTENTION_VALUES:
                tensors[f"attention.{index}"] = seen["attention"]
            tensors[f"hidden.{index}"] = observed.hidden[index]
            if seen["declared"] is not None:
                tensors[f"declared.{index}"] = seen["declared"]
            kept.append(LayerFacts(index, seen["type"]))
        arguments = self._arguments
        tensors |= {"input_ids": arguments["input_ids"], "types": arguments[loaded.family.types]}
        masks = {index: seen["mask"] for index, seen in observed.layers.items()}
        tensors["doubtful"] = torch.stack([recovered.doubtful for recovered in masks.values()])
        arrived = write.to_host(tensors)

        def finish() -> None:
            host = arrived()
            for (index, recovered), doubtful in zip(masks.items(), host.pop("doubtful").tolist(), strict=True):
                host[f"mask.{index}"] = observing.checked(
                    recovered, doubtful, host[f"mask.{index}"], self._tokens, index
                )
            each = zip(host.pop("input_ids").tolist(), host.pop("types").tolist(), strict=True)
            own = [PromptFacts(tuple(ids), tuple(types), processed=self._processed) for ids, types in each]
            probing = observed.probing.seconds() / len(self._prompts)
            seconds = {"reference": took() - probing, "reference probing": probing}
            facts = replace(
                loaded.facts,
                layers=tuple(kept),
                logits_at=tuple(self._rows),
                seconds=seconds,
                notes=tuple(filter(None, [loaded.family.note(loaded.model, arguments)])),
                memory=memory.peak(loaded.device),
            )
            write.write(self._directory, host, facts, own)

        return finish


def by_layer(groups: Sequence[Group], offloaded: Offloaded, told: Callable[[str], None]) -> list[Callable[[], None]]:
    """As `Group.run` of each group, all of them in one pass over the checkpoint."""
    start = time.perf_counter()
    logits = iter(layerwise.run([one for group in groups for one in group.passes], offloaded, told))
    took = (time.perf_counter() - start) / sum(group.prompts for group in groups)
    return [group.keep([next(logits) for _ in group.passes], lambda: took) for group in groups]


def _as_cached(loaded: Loaded, implementation: str) -> AbstractContextManager[None]:
    return kv_cache.rounding(loaded.family, implementation, loaded.of.kv_dtype)
