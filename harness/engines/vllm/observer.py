"""The observer: runs inside each vLLM worker and records what its attention layers let through.

Beside each real attention call the same implementation is called again, with the metadata, slot
mapping and block table that serve the request, on a shadow of the KV cache: its cache write stores
position codes (see `harness.masks.probe`), its forward reads them with query 0. The real call and the
real cache are untouched, so what the engine computes does not change.
"""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.captures import write
from harness.captures.facts import ATTENTION_VALUES
from harness.drivers.stopwatch import Stopwatch
from harness.engines.vllm import releases
from harness.engines.vllm.head import Head
from harness.masks import probe

_LAYER = re.compile(r"language_model.*\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Rows:
    """The rows of one request in a step's batch: ``index`` into the batch and the ``positions`` of its prompt;
    ``place`` is the request's place in the batch."""

    name: str
    place: int
    index: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class Piece:
    """What one step saw of some rows: ``values`` has them along its first dimension, in the order of ``owners``, each a
    request and the positions of its rows."""

    owners: list[tuple[str, torch.Tensor]]
    values: torch.Tensor


class Observer:
    """One worker's observations. ``rank`` of ``ranks`` observes its own KV heads."""

    def __init__(self, worker) -> None:
        self.runner = worker.model_runner
        self.rank = worker.rank
        self.model = releases.model_of(worker)
        self.head = Head(self.model)
        self.requests: dict[str, int] = {}
        self.chosen: list[int] = []
        self.logits_at: dict[str, torch.Tensor] = {}
        self.order: list[str] = []
        self.positions: Any = None
        self.rows: list[Rows] | None = None
        self.index: Any = None
        """The rows of all of them in the batch, in its order, on the device."""
        self.owners: list[tuple[str, torch.Tensor]] = []
        self.shadows: dict[tuple, torch.Tensor] = {}
        self.caching = self.runner.vllm_config.cache_config.enable_prefix_caching
        self.pieces: dict[str, list[Piece]] = {}
        self.ranges: dict[str, dict[str, list | None]] = {}
        self.passes_tokens = 0
        self.recovered: dict[int, list[tuple[list[tuple[str, torch.Tensor]], probe.Recovered]]] = {}
        """By layer the probes of each step, with the owners of their rows."""
        self.steps: dict[str, list[list[int]]] = {}
        """By request the first and last position of each step."""
        self.probing = Stopwatch(self.runner.device)
        self.collected = 0
        self.saving: dict[int, list[Future]] = {}
        self.behind = ThreadPoolExecutor(1)
        self.layers = self._attention_layers()
        for name, layer in self.layers.items():
            self._wrap(name, layer)
        releases.watch_batch(self.runner, lambda req_ids: setattr(self, "order", req_ids))
        self.model.register_forward_pre_hook(self._before, with_kwargs=True)
        self.model.register_forward_hook(self._after)
        self._hook_decoder_layers()

    def begin(self, requests: dict[str, int], longest: int, layers: list[int], logits_at: dict[str, list[int]]) -> None:
        """Observe ``requests`` (name: prompt tokens) until `collect`; no prompt has more than ``longest`` tokens.

        ``layers`` are those whose masks are observed, or none for all; ``logits_at`` has the positions of each request's
        logits.
        """
        self.requests = requests
        self.chosen = layers
        self.logits_at = {name: torch.tensor(positions) for name, positions in logits_at.items()}
        self.passes_tokens = longest
        self.pieces, self.ranges, self.recovered = {}, {name: {} for name in requests}, {}
        self.steps = {name: [] for name in requests}
        self.head.begin()
        self.probing = Stopwatch(self.runner.device)

    def collect(self, stacks: dict[str, list[str]], ranks: int) -> dict:
        """Begin to write the tensors of each stack's requests, which have one length, and forget them; `saved` waits for
        the files: `capture.safetensors` in the stack's directory, or ``rank<r>.safetensors`` of each of several ranks."""
        self.collected += 1
        saving = self.saving[self.collected] = []
        answer: dict = {
            "rank": self.rank,
            "probing": self.probing.seconds(),
            "failure": self._explained(),
            "stacks": {},
        }
        for directory, names in () if answer["failure"] else stacks.items():
            tensors, missing = self._stack(names)
            tensors = write.to_host(tensors)()
            for key in filter(lambda key: key.startswith("mask."), tensors):
                try:
                    tensors[key] = probe.cut(tensors[key], self.requests[names[0]])
                except probe.ProbeError as error:
                    answer["failure"] = answer["failure"] or f"serving, layer {key.removeprefix('mask.')}: {error}"
            save = write.save if ranks == 1 else write.save_part
            name = "capture" if ranks == 1 else f"rank{self.rank}"
            saving.append(self.behind.submit(save, Path(directory) / f"{name}.safetensors", tensors))
            answer["stacks"][directory] = {"missing": missing}
        answer["layers"] = [self._facts(layer, index) for index, layer in self._observed_layers()]
        answer |= {"ranges": self.ranges, "steps": self.steps, "collected": self.collected, "logits": self.head.facts()}
        self.requests, self.pieces, self.ranges, self.recovered = {}, {}, {}, {}
        return answer

    def saved(self, collected: int) -> None:
        """Wait until everything of one call of `collect` is on disk."""
        for future in self.saving.pop(collected):
            future.result()

    def _explained(self) -> str | None:
        """Keep what rows count beside their masks; what a probe could not explain. It is asked when all steps are over, so
        that no layer waits for its kernels."""
        for index, steps in self.recovered.items():
            try:
                found = [recovered.surplus() for _, recovered in steps]
            except probe.ProbeError as error:
                return f"serving, layer {index}: {error}"
            if any(surplus is not None for surplus in found):
                self.pieces[f"surplus.{index}"] = [
                    Piece(
                        owners,
                        recovered.count.new_zeros(recovered.apart.shape)
                        if surplus is None
                        else surplus.transpose(0, 1),
                    )
                    for (owners, recovered), surplus in zip(steps, found, strict=True)
                ]
        return None

    def _stack(self, names: list[str]) -> tuple[dict[str, torch.Tensor], list[str]]:
        """The tensors of requests of one length, stacked, and the names of those that some step did not see."""
        tokens = self.requests[names[0]]
        known: dict[tuple, torch.Tensor] = {}

        def places(pieces: list[Piece]) -> torch.Tensor:
            key = tuple(id(piece.owners) for piece in pieces)
            if key not in known:
                known[key] = _places(pieces, names, tokens)
            return known[key]

        observed = places(self.pieces.get(f"mask.{self._observed_layers()[0][0]}", [])) >= 0
        tensors = {"observed": observed.to(torch.uint8)}
        missing = [] if observed.any(dim=1).all() else ["every layer's mask"]
        for key, pieces in self.pieces.items():
            at = self.logits_at[names[0]] if key == "logits" else torch.arange(tokens)
            found = places(pieces)[:, at]
            if not (found >= 0).any():
                continue
            if not torch.equal(found >= 0, observed[:, at]):
                missing.append(key)
                continue
            values = pieces[0].values if len(pieces) == 1 else torch.cat([piece.values for piece in pieces])
            stack = values[found.clamp(min=0).to(values.device)]
            if (found < 0).any():
                stack[(found < 0).to(values.device)] = 0
            tensors[key] = stack.transpose(1, 2) if key.startswith(("mask.", "surplus.")) else stack
        return tensors, missing

    def _attention_layers(self) -> dict:
        context = self.runner.vllm_config.compilation_config.static_forward_context
        return {name: layer for name, layer in context.items() if _LAYER.search(name) and hasattr(layer, "impl")}

    def _observed_layers(self):
        """(index, attention layer) of those that are observed."""
        indexed = ((_index_of(name), layer) for name, layer in self.layers.items())
        return sorted((pair for pair in indexed if self._observes(pair[0])), key=lambda pair: pair[0])

    def _observes(self, index: int) -> bool:
        return not self.chosen or index in self.chosen

    def _facts(self, layer, index: int) -> dict:
        sliding = getattr(layer, "sliding_window", None)
        return {"index": index, "type": "sliding_attention" if sliding else "full_attention"}

    def _hook_decoder_layers(self) -> None:
        for name, module in self.model.named_modules():
            found = re.search(r"language_model.*\.layers\.(\d+)$", name)
            if found and type(module).__name__.endswith("DecoderLayer"):
                module.register_forward_hook(self._hidden(int(found[1])))

    def _hidden(self, index: int):
        def hook(module, args, output):
            if not self.requests or not self._observes(index) or torch.compiler.is_compiling():
                return
            hidden, residual = output[:2] if isinstance(output, tuple) else (output, None)
            hidden = hidden if residual is None else hidden + residual
            self._keep(f"hidden.{index}", hidden)

        return hook

    def _before(self, module, args, kwargs) -> None:
        if self.requests:
            positions = kwargs.get("positions", args[1] if len(args) > 1 else None)
            self.positions = positions.detach().clone()
            self.rows = None
            self.order = releases.batch_order(self.runner) or self.order

    def _after(self, module, args, output) -> None:
        if not self.requests or not torch.is_tensor(output):
            return
        batch = self._rows()
        kept = [torch.isin(rows.positions, self.logits_at[rows.name]) for rows in batch]
        if not any(some.any() for some in kept):
            return
        index = torch.cat([rows.index[some] for rows, some in zip(batch, kept, strict=True)])
        logits = self.head.logits(output[index.to(output.device)])
        if logits is None:
            return
        owners = [(rows.name, rows.positions[some]) for rows, some in zip(batch, kept, strict=True)]
        self.pieces.setdefault("logits", []).append(Piece(owners, logits))

    def _rows(self) -> list[Rows]:
        """The rows of this step that belong to observed prompts."""
        if self.rows is None:
            self.rows = self._find_rows()
            self.index = _index(self.rows, self.positions.device)
            self.owners = [(rows.name, rows.positions) for rows in self.rows]
            for rows in self.rows:
                self.steps[rows.name].append([int(rows.positions[0]), int(rows.positions[-1])])
        return self.rows

    def _find_rows(self) -> list[Rows]:
        metadata = next((m for m in map(releases.layer_metadata, self.layers) if m is not None), None)
        if metadata is None:
            return []
        bounds = metadata.query_start_loc.tolist()
        positions = self.positions.cpu()
        found = []
        for place, req_id in enumerate(self.order):
            name = releases.request_name(req_id, self.requests)
            if name is None:
                continue
            index = torch.arange(bounds[place], bounds[place + 1])
            index = index[positions[index] < self.requests[name]]
            if len(index):
                found.append(Rows(name, place, index, positions[index]))
        return found

    def _keep(self, key: str, values: torch.Tensor, most: float = float("inf")) -> None:
        """Remember the rows of ``values`` (tokens, channels), of prompts that have at most ``most`` values."""
        batch = self._rows()
        kept = [rows for rows in batch if self.requests[rows.name] * values.shape[-1] <= most]
        if kept:
            if len(kept) == len(batch):
                owners, index = self.owners, self.index
            else:
                owners, index = [(rows.name, rows.positions) for rows in kept], _index(kept, values.device)
            self.pieces.setdefault(key, []).append(Piece(owners, values[index]))

    def _wrap(self, name: str, layer) -> None:
        index = _index_of(name)
        original = layer.impl.forward

        def forward(layer_, query, key, value, kv_cache, attn_metadata, *args, **kwargs):
            result = original(layer_, query, key, value, kv_cache, attn_metadata, *args, **kwargs)
            if self.requests and self._observes(index) and attn_metadata is not None:
                output = kwargs.get("output", args[0] if args else result)
                with self.probing.on():
                    self._observe(name, index, original, layer_, query, key, kv_cache, attn_metadata, output)
            return result

        layer.impl.forward = forward

    def _observe(self, name, index, original, layer, query, key, kv_cache, attn_metadata, output) -> None:
        if not self._rows():
            return
        self._keep(f"attention.{index}", output.view(len(output), -1), ATTENTION_VALUES)
        impl = layer.impl
        tokens, kv_heads = len(query), impl.num_kv_heads
        channels = kv_cache_channels(layer)
        blank_query = torch.zeros_like(query)
        blank_key = torch.zeros(tokens, kv_heads, channels, dtype=query.dtype, device=query.device)
        batch, decoder = self._rows(), probe.Decoder()
        whole = not self.caching and all(len(rows.positions) == self.requests[rows.name] for rows in batch)
        for number in range(probe.passes_for(self.passes_tokens, channels)):
            shadow = self._shadow(kv_cache, 0 if whole else number)
            values = probe.codes(self.positions[:tokens], channels, number, query.dtype)[:, None]
            values = values.expand(tokens, kv_heads, channels).contiguous()
            shares = getattr(layer, "kv_sharing_target_layer_name", None) is not None
            if hasattr(impl, "do_kv_cache_update") and not shares:
                impl.do_kv_cache_update(layer, blank_key, values, shadow, releases.slot_mapping(name, attn_metadata))
            probed = torch.zeros_like(output)
            original(layer, blank_query, blank_key, values, shadow, attn_metadata, output=probed)
            seen = probed.view(tokens, impl.num_heads, channels)
            decoder.add(seen if len(seen) == len(self.index) else seen[self.index])
        recovered = decoder.recovered(kv_heads)
        self.recovered.setdefault(index, []).append((self.owners, recovered))
        self.pieces.setdefault(f"mask.{index}", []).append(Piece(self.owners, recovered.mask.transpose(0, 1)))
        for rows in batch:
            self.ranges[rows.name][str(index)] = releases.declared_ranges(attn_metadata, rows.place)

    def _shadow(self, kv_cache: torch.Tensor, number: int) -> torch.Tensor:
        """A cache of the same shape and strides, one for each memory that layers use and, where a later chunk or request
        needs the codes of a pass, one for each pass."""
        key = (kv_cache.data_ptr(), tuple(kv_cache.shape), kv_cache.stride(), number)
        if key not in self.shadows:
            shadow = torch.empty_strided(
                kv_cache.shape, kv_cache.stride(), dtype=kv_cache.dtype, device=kv_cache.device
            )
            self.shadows[key] = shadow.zero_()
        return self.shadows[key]


def _index_of(name: str) -> int:
    """The index of the decoder layer that an attention layer of the language model is in."""
    found = _LAYER.search(name)
    assert found
    return int(found[1])


def _index(batch: list[Rows], device: torch.device) -> torch.Tensor:
    """The rows of requests in the step's batch, one after another."""
    return (
        torch.cat([rows.index for rows in batch]).to(device)
        if batch
        else torch.empty(0, dtype=torch.long, device=device)
    )


def _places(pieces: list[Piece], names: list[str], tokens: int) -> torch.Tensor:
    """Where the rows of each request and position lie in the pieces one after another, (requests, tokens); -1 where
    none does: what came from the prefix cache was not computed."""
    places = torch.full((len(names), tokens), -1)
    wanted = {name: index for index, name in enumerate(names)}
    offset = 0
    for piece in pieces:
        for name, positions in piece.owners:
            if name in wanted:
                places[wanted[name], positions] = torch.arange(offset, offset + len(positions))
            offset += len(positions)
    return places


def kv_cache_channels(layer) -> int:
    """The head size of a layer's values."""
    return getattr(layer, "head_size_v", None) or layer.head_size
