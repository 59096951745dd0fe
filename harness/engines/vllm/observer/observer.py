"""One worker's observations, from the start of a request to the file of its capture.

Beside each real attention call the same implementation is called again (`harness.engines.vllm.observer.probing`). The real call
and the real cache are untouched, so what the engine computes does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from harness.captures import write
from harness.captures.facts import ATTENTION_VALUES
from harness.drivers.stopwatch import Stopwatch
from harness.engines.vllm import releases
from harness.engines.vllm.head import Head
from harness.engines.vllm.observer import hooks
from harness.engines.vllm.observer.probing import Call, Probed, Prober, target
from harness.engines.vllm.observer.rows import Batch
from harness.engines.vllm.observer.sampling import (
    Continuation,
    accepted,
    around_drafts,
    around_drafts_of_v2,
    around_sampler,
    force,
)
from harness.engines.vllm.observer.stacks import SAMPLED, SCORES, Pieces
from harness.masks import probe


class Observer:
    """One worker's observations. ``rank`` of several observes its own KV heads, and its own layers in a pipeline."""

    def __init__(self, worker) -> None:
        self.runner = worker.model_runner
        self.rank = worker.rank
        self.model = releases.model_of(worker)
        self.head = Head(self.model)
        self.caching = self.runner.vllm_config.cache_config.enable_prefix_caching
        self.prober = self.beside()
        self.order: list[str] = []
        self.positions: Any = None
        self.collected = 0
        self.saving: dict[int, list[Future]] = {}
        self.behind = ThreadPoolExecutor(1)
        self.layers = hooks.attention_layers(self.runner)
        self.by_index = {hooks.index_of(name): name for name in self.layers}
        self.next: dict[str, int] = {}
        """By request id the position of the token that this step samples."""
        self.begin({}, 0, [], {}, {}, masks=True)
        for name, layer in self.layers.items():
            hooks.after_attention(name, layer, self.hook(self._attended))
        releases.watch_batch(self.runner, lambda req_ids: setattr(self, "order", req_ids))
        releases.watch_steps(self.runner, self.hook(self._planned), self.hook(self._stepped))
        releases.watch_prompt_scores(self.runner, self._scored)
        around_sampler(self.runner, self.hook(self._sampling), self.hook(self._sampled))
        around = around_drafts_of_v2 if releases.is_v2(self.runner) else around_drafts
        around(self.runner, self.hook(self._sampling), self.hook(self._drafted))
        hooks.around_model(self.model, self.hook(self._before), self.hook(self._after))
        hooks.after_decoder_layers(
            self.model, self._observes, self.hook(lambda index, hidden: self._keep(index, "hidden", hidden))
        )

    def beside(self) -> Prober:
        """What probes calls of this worker."""
        return Prober()

    def hook(self, work: Callable[..., None]) -> Callable[..., None]:
        """What is called in place of ``work`` by the engine."""
        return work

    def begin(
        self,
        requests: dict[str, int],
        longest: int,
        layers: list[int],
        logits_at: dict[str, list[int]],
        given: dict[str, tuple[int, list[int]]],
        *,
        masks: bool,
    ) -> None:
        """Observe ``requests`` (name: tokens) until `collect`; no request has more than ``longest`` tokens.

        ``layers`` are those whose masks are observed, or none for all; ``logits_at`` has the positions of each request's
        logits. Requests that are ``given`` tokens (from a position on) go on with them, whether they are observed or not. Without
        ``masks`` hooks keep nothing, and logits are those of the sampler.
        """
        self.requests: dict[str, int] = {}
        self.hooked = self.requests if masks else {}
        self.given = {name: Continuation(*one) for name, one in given.items()}
        self.longest = longest
        self.chosen = layers
        observed = [self.layers[name] for index, name in self.by_index.items() if index in layers]
        self.lends = {hooks.index_of(name) for name in map(target, observed) if name}
        """Layers that others, which are observed, have their keys of."""
        self.logits_at: dict[str, torch.Tensor] = {}
        self.probed = Probed()
        self.pieces = Pieces()
        self.ranges: dict[str, dict[str, list | None]] = {}
        self.steps: dict[str, list[list[int]]] = {}
        """By request the first and last position of each step."""
        self.drafts: dict[str, list[int]] = {}
        """By request how many drafts were compared with given tokens, and how many of them were accepted."""
        for name, tokens in requests.items():
            self.admit(name, tokens, logits_at[name])
        self.step: Batch | None = None
        self.part: Batch | None = None
        self.prober.forget()
        self.head.begin()
        self.probing = Stopwatch(self.runner.device)

    def admit(self, name: str, tokens: int, logits_at: Sequence[int]) -> None:
        """Observe one request more, with the logits of the positions ``logits_at``."""
        self.requests[name] = tokens
        self.logits_at[name] = torch.tensor(logits_at)
        self.ranges[name], self.steps[name], self.drafts[name] = {}, [], [0, 0]

    def collect(self, stacks: dict[str, list[str]], ranks: int, *, masks: bool) -> dict:
        """Begin to write the tensors of each stack's requests, which have one length, and forget them; `saved` waits for
        the files: `capture.safetensors` in the stack's directory, or ``rank<r>.safetensors`` of each of several ranks. Without
        ``masks`` none of them has to have any."""
        self.collected += 1
        saving = self.saving[self.collected] = []
        chosen = [index for index in sorted(self.by_index) if not self.chosen or index in self.chosen]
        answer: dict = {
            "rank": self.rank,
            "samples": releases.samples(),
            "probing": self.probing.seconds(),
            "failure": self.probed.keep_surplus(self.pieces),
            "stacks": {},
        }
        for directory, names in () if answer["failure"] else stacks.items():
            tokens = self.requests[names[0]]
            computed = torch.stack([_within(self.steps[name], tokens) for name in names])
            seen = f"mask.{chosen[0]}" if chosen else None
            sampled = self._sampled_rows(names, tokens) if self._prefills_fast else None
            tensors, missing = self.pieces.stacked(
                names, computed, self.logits_at[names[0]], seen, masks=masks, sampled=sampled
            )
            tensors = write.to_host(tensors)()
            for key in filter(lambda key: key.startswith("mask."), tensors):
                try:
                    tensors[key] = probe.cut(tensors[key], tokens)
                except probe.ProbeError as error:
                    answer["failure"] = answer["failure"] or f"serving, layer {key.removeprefix('mask.')}: {error}"
            save = write.save if ranks == 1 else write.save_part
            name = "capture" if ranks == 1 else f"rank{self.rank}"
            saving.append(self.behind.submit(save, Path(directory) / f"{name}.safetensors", tensors))
            scored = not masks and "computed" in tensors
            answer["stacks"][directory] = {"missing": missing, "observed": seen in tensors, "scored": scored}
        layers = {index: self.layers[self.by_index[index]] for index in chosen}
        answer["layers"] = [{"index": index, "type": _type(layer)} for index, layer in layers.items()]
        answer |= {
            "ranges": self.ranges,
            "steps": self.steps,
            "drafts": self.drafts,
            "collected": self.collected,
            "logits": self.head.facts(),
        }
        self.begin({}, 0, [], {}, {}, masks=True)
        return answer

    @property
    def _prefills_fast(self) -> bool:
        """Whether there are layers that compute some rows alone."""
        return releases.prefills_fast(self.runner.vllm_config) and any(map(target, self.layers.values()))

    def _sampled_rows(self, names: Sequence[str], tokens: int) -> torch.Tensor:
        """Which positions of requests tokens are sampled from, boolean (requests, tokens): the last of each step."""
        return torch.stack([_within([[last, last] for _, last in self.steps[name]], tokens) for name in names])

    def is_saved(self, collected: int) -> bool:
        """Whether `saved` would not wait."""
        return all(future.done() for future in self.saving[collected])

    def saved(self, collected: int) -> None:
        """Wait until everything of one call of `collect` is on disk."""
        for future in self.saving.pop(collected):
            future.result()

    def _observes(self, index: int) -> bool:
        return bool(self.hooked) and self.positions is not None and (not self.chosen or index in self.chosen)

    def _planned(self, steps: dict[str, tuple[int, int]], new: dict[str, Any]) -> None:
        """A step is about to run, with requests that are ``new``. What was known of the last one says nothing of a step whose graph
        is replayed: there nobody calls the model, and only in some graphs attention."""
        self.positions = self.step = self.part = None

    def _stepped(self, planned: dict[str, tuple[int, int]]) -> None:
        order = releases.batch_order(self.runner) or self.order
        steps = releases.computed(self.runner, order, planned)
        self.next = {req_id: end for req_id, (_, end) in steps.items()}
        for req_id, (start, end) in steps.items():
            name = releases.request_name(req_id, self.requests)
            if name is not None and start < self.requests[name]:
                self.steps[name].append([start, min(end, self.requests[name]) - 1])

    def _sampling(self, logits: torch.Tensor | None) -> None:
        """Keep the logits (requests, V) that are sampled from: where hooks are not called there are no others. Up to 0.21 V2 calls
        its sampler with rows of drafts among them."""
        order = releases.batch_order(self.runner) or self.order
        if not self.requests or logits is None or len(logits) != len(order):
            return
        kept = [
            (place, name, position)
            for place, (name, after) in enumerate(zip(*self._of_batch(self.requests), strict=True))
            if name is not None and after is not None
            for position in [after - 1]
            if position in self.logits_at[name]
        ]
        if kept:
            owners = [(name, torch.tensor([position])) for _, name, position in kept]
            values = logits[[place for place, *_ in kept]].clone()
            self.head.given(values)
            self.pieces.keep(SAMPLED, owners, values)

    def _scored(self, req_id: str, token_ids: torch.Tensor, scores: torch.Tensor) -> bool:
        """Keep what the sampler made of a prompt, at the positions whose logits are wanted; whether the prompt is observed."""
        name = releases.request_name(req_id, self.requests)
        if name is None:
            return False
        wanted = self.logits_at[name][self.logits_at[name] < len(scores)]
        if len(wanted):
            rows = wanted.to(scores.device)
            by_token = scores.new_full((len(rows), int(token_ids.max()) + 1), float("nan"))
            by_token = by_token.scatter_(1, token_ids[rows].long(), scores[rows]).to(self.runner.device)
            self.head.given(by_token)
            self.pieces.keep(SCORES, [(name, wanted)], by_token)
        return True

    def _sampled(self, tokens: torch.Tensor) -> None:
        if self.given:
            force(tokens, *self._of_batch(self.given), self.given)

    def _drafted(self, drafts: list[list[int]], tokens: torch.Tensor) -> None:
        for place, (name, end) in enumerate(zip(*self._of_batch(self.given), strict=True)):
            if name is None or end is None:
                continue
            compared, right = accepted(tokens[place], drafts[place], end, self.given[name])
            if name in self.drafts:
                self.drafts[name][0] += compared
                self.drafts[name][1] += right

    def _of_batch(self, names: Iterable[str]) -> tuple[list[str | None], list[int | None]]:
        """The names of the batch's requests, of those that are among ``names``, and the positions that tokens are sampled for."""
        order = releases.batch_order(self.runner) or self.order
        return [releases.request_name(req_id, names) for req_id in order], [self.next.get(req_id) for req_id in order]

    def _before(self, positions: torch.Tensor) -> None:
        if self.hooked:
            self.positions = positions.detach().clone()
            self.step = self.part = None
            self.order = releases.batch_order(self.runner) or self.order

    def _after(self, hidden: torch.Tensor) -> None:
        if not self.hooked:
            return
        kept = self._batch().at(self.logits_at)
        last = self._of_layer(releases.layer_metadata(self.by_index[max(self.by_index)]))
        if last is self.part:
            none = torch.empty(0, dtype=torch.long)
            kept = kept.at(dict.fromkeys(self.requests, none) | dict(last.owners))
        logits = self.head.logits(hidden[kept.index.to(hidden.device)]) if len(kept) else None
        if logits is not None:
            self.pieces.keep("logits", kept.owners, logits)

    def _attended(self, index: int, call: Call) -> None:
        if self._observes(index):
            with self.probing.on():
                self._observe(index, call)
        elif self.hooked and self.positions is not None and index in self.lends:
            with self.probing.on():
                self._write(call)

    def _write(self, call: Call) -> None:
        """Write the codes of a layer that is not observed, for those that are and have its keys."""
        self.prober.write(call, self._positions(call.metadata), self.longest)

    def _observe(self, index: int, call: Call) -> None:
        batch = self._of_layer(call.metadata)
        positions = self._positions(call.metadata)
        if not len(batch):
            if self.caching:
                self.prober.write(call, positions, self.longest)
            return
        self._keep(index, "attention", call.output.view(len(call.output), -1), ATTENTION_VALUES)
        whole = not self.caching and not self.prober.shared(call, self.layers) and batch.whole(self.requests)
        recovered = self.prober.probe(call, positions, batch.index, self.longest, whole=whole)
        self.probed.add(index, batch.owners, recovered)
        mask = recovered.mask.transpose(0, 1)
        self.pieces.keep(f"mask.{index}", batch.owners, mask, in_part=batch is self.part)
        for rows in batch.requests:
            self.ranges[rows.name][str(index)] = releases.declared_ranges(call.metadata, rows.place)

    def _batch(self) -> Batch:
        """The rows of this step that belong to observed prompts."""
        if self.step is None:
            self.step = self._found()
        return self.step

    def _found(self) -> Batch:
        metadata = next((m for m in map(releases.layer_metadata, self.layers) if m is not None), None)
        if metadata is None:
            return Batch.of([], [0], self.positions, self.requests)
        return self._rows(metadata, self.positions)

    def _rows(self, metadata: Any, positions: torch.Tensor) -> Batch:
        """The rows that belong to observed prompts, of those at these ``positions``."""
        names = [releases.request_name(req_id, self.requests) for req_id in self.order]
        return Batch.of(names, metadata.query_start_loc.tolist(), positions, self.requests)

    def _positions(self, metadata: Any) -> torch.Tensor:
        """Of the tokens that a layer computes."""
        rows = releases.rows_of_layer(metadata)
        return self.positions if rows is None else self.positions[rows[0]]

    def _of_layer(self, metadata: Any) -> Batch:
        """The rows of a layer that belong to observed prompts: those of the step, or the ``part`` of them that it computes."""
        if releases.rows_of_layer(metadata) is None:
            return self._batch()
        if self.part is None:
            self.part = self._rows(metadata, self._positions(metadata))
        return self.part

    def _keep(self, index: int, kind: str, values: torch.Tensor, most: float = float("inf")) -> None:
        """Remember the rows of a layer's ``values`` (tokens, channels), of prompts that have at most ``most`` values."""
        small = {name for name, tokens in self.requests.items() if tokens * values.shape[-1] <= most}
        every = self._of_layer(releases.layer_metadata(self.by_index[index]))
        batch = every.only(small)
        if len(batch):
            kept = values[batch.index]
            self.pieces.keep(f"{kind}.{index}", batch.owners, kept, in_part=every is self.part)


def _within(steps: list[list[int]], tokens: int) -> torch.Tensor:
    """Which of a request's positions some step computed, boolean (tokens,)."""
    computed = torch.zeros(tokens, dtype=torch.bool)
    for first, last in steps:
        computed[first : last + 1] = True
    return computed


def _type(layer: Any) -> str:
    return "sliding_attention" if getattr(layer, "sliding_window", None) else "full_attention"
