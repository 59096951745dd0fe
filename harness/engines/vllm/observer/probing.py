"""A layer's attention called once more, on a shadow of the KV cache that holds position codes (`harness.masks.probe`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.engines.vllm import releases
from harness.engines.vllm.observer.rows import Owners
from harness.engines.vllm.observer.stacks import Pieces
from harness.masks import probe

SCALES = ("_k_scale_cache", "_v_scale_cache")


@dataclass(frozen=True)
class Call:
    """One call of a layer's attention: ``forward`` is what the implementation does itself, the rest what it was called with."""

    layer_name: str
    forward: Callable
    layer: Any
    query: torch.Tensor
    key: torch.Tensor
    kv_cache: torch.Tensor
    metadata: Any
    output: torch.Tensor


@dataclass
class Shadow:
    """What stands beside a KV cache: a ``cache`` of codes, and the ``scales`` that an implementation has made of it, by the names
    of its attributes."""

    cache: torch.Tensor
    scales: dict[str, torch.Tensor | None] = field(default_factory=dict)

    @contextmanager
    def scaling(self, impl: Any) -> Iterator[None]:
        """An implementation that scales each token and head keeps views of the cache's scales and does not look at the cache for
        them again (`TritonAttentionImpl._ensure_scale_caches`): the shadow has views of its own."""
        real = {name: getattr(impl, name) for name in SCALES if hasattr(impl, name)}
        for name in real:
            setattr(impl, name, self.scales.get(name))
        try:
            yield
        finally:
            self.scales = {name: getattr(impl, name) for name in real}
            for name, scales in real.items():
                setattr(impl, name, scales)


class Prober:
    """Probes calls; its shadows live as long as the caches that they stand beside."""

    def __init__(self) -> None:
        self._shadows: dict[tuple, Shadow] = {}
        self._clean = True

    @torch.inference_mode()
    def forget(self) -> None:
        """Forget the codes of all requests so far: a block that another one is given later would have those of whoever had it."""
        if not self._clean:
            for shadow in self._shadows.values():
                shadow.cache.zero_()
        self._clean = True

    def probe(
        self, call: Call, positions: torch.Tensor, index: torch.Tensor, longest: int, *, whole: bool
    ) -> probe.Recovered:
        """The mask of the rows ``index`` of a call over the keys of prompts of at most ``longest`` tokens; ``positions`` are
        those of the batch's tokens. A call that is ``whole`` needs no codes of steps before it or of other layers, and leaves none.

        The implementation writes position codes into a shadow of the cache and reads them with query 0, with the metadata, slot
        mapping and block table that serve the requests. The real cache is untouched.
        """
        channels = kv_cache_channels(call.layer)
        decoder = probe.Decoder()
        for number in range(probe.passes_for(longest, channels)):
            values = self._written(call, positions, number, 0 if whole else number)
            probed = self._read(call, values, 0 if whole else number)
            seen = probed.view(len(call.query), call.layer.impl.num_heads, channels)
            decoder.add(seen if len(seen) == len(index) else seen[index])
        return decoder.recovered(call.layer.impl.num_kv_heads)

    def shared(self, call: Call, layers: Mapping[str, Any]) -> bool:
        """Whether others of ``layers``, which are all by name, attend to the keys and values of the one that is called, or it to
        theirs: then the codes of every pass, which one of them writes, have to be there when the others are called."""
        return target(call.layer) is not None or any(target(layer) == call.layer_name for layer in layers.values())

    def write(self, call: Call, positions: torch.Tensor, longest: int) -> None:
        """Write the codes of a step that nobody observes: others may find its keys in the prefix cache."""
        for number in range(probe.passes_for(longest, kv_cache_channels(call.layer))):
            values = self._written(call, positions, number, number)
            if not hasattr(call.layer.impl, "do_kv_cache_update"):
                self._read(call, values, number)

    def _written(self, call: Call, positions: torch.Tensor, number: int, shadow: int) -> torch.Tensor:
        """The codes of pass ``number``, which are in the ``shadow`` now, unless the forward itself writes them or the layer has
        none of its own."""
        layer, impl = call.layer, call.layer.impl
        shape = (len(call.query), impl.num_kv_heads, kv_cache_channels(layer))
        values = probe.codes(positions[: len(call.query)], shape[-1], number, call.output.dtype)[:, None]
        values = values.expand(shape).contiguous()
        if hasattr(impl, "do_kv_cache_update") and not target(layer):
            beside = self.shadow(call, shadow)
            with beside.scaling(impl):
                impl.do_kv_cache_update(layer, torch.zeros_like(values), values, beside.cache, self.slots(call))
        return values

    def _read(self, call: Call, values: torch.Tensor, shadow: int) -> torch.Tensor:
        """What the forward makes of a shadow with query 0."""
        probed = torch.zeros_like(call.output)
        beside = self.shadow(call, shadow)
        blank = torch.zeros_like(call.query), torch.zeros_like(values)
        with beside.scaling(call.layer.impl):
            call.forward(call.layer, *blank, values, beside.cache, self.metadata(call), output=probed)
        return probed

    def shadow(self, call: Call, number: int) -> Shadow:
        """What stands beside the KV cache of a call: of the same shape and strides, one for each memory that layers use and,
        where a later chunk or request needs the codes of a pass, one for each pass."""
        self._clean = False
        real = call.kv_cache
        key = (real.data_ptr(), tuple(real.shape), real.stride(), number)
        if key not in self._shadows:
            cache = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device=real.device)
            self._shadows[key] = Shadow(cache.zero_())
        return self._shadows[key]

    def slots(self, call: Call) -> torch.Tensor:
        """Where the tokens of a call go in its shadow."""
        return releases.slot_mapping(call.layer_name, call.metadata)

    def metadata(self, call: Call) -> Any:
        """What the forward is told of the requests whose codes are in the shadow."""
        return call.metadata


def target(layer: Any) -> str | None:
    """The name of the layer whose keys and values this one attends to, where it has none of its own."""
    return getattr(layer, "kv_sharing_target_layer_name", None)


def kv_cache_channels(layer: Any) -> int:
    """The head size of a layer's values."""
    return getattr(layer, "head_size_v", None) or layer.head_size


class Probed:
    """What the probes of each layer recovered, step by step, with the owners of their rows."""

    def __init__(self) -> None:
        self._by_layer: dict[int, list[tuple[Owners, probe.Recovered]]] = {}

    def add(self, layer: int, owners: Owners, recovered: probe.Recovered) -> None:
        self._by_layer.setdefault(layer, []).append((owners, recovered))

    def keep_surplus(self, pieces: Pieces) -> str | None:
        """Keep what rows count beside their masks; what a probe could not explain. It is asked when all steps are over, so
        that no layer waits for its kernels."""
        for layer, steps in self._by_layer.items():
            try:
                found = [recovered.surplus() for _, recovered in steps]
            except probe.ProbeError as error:
                return f"serving, layer {layer}: {error}"
            if all(surplus is None for surplus in found):
                continue
            for (owners, recovered), surplus in zip(steps, found, strict=True):
                none = recovered.count.new_zeros(recovered.apart.shape)
                pieces.keep(f"surplus.{layer}", owners, none if surplus is None else surplus.transpose(0, 1))
        return None
