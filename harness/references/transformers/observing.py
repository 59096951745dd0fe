"""What is observed of the decoder layers: the mask of each attention call, recovered by probing, and what comes of the layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from harness.drivers.stopwatch import Stopwatch
from harness.masks import probe
from harness.references.transformers import attention
from harness.references.transformers.kv_cache import unkept
from harness.references.transformers.loading import Loaded

WIDEST = 2048
"""Channels of an eager probe."""


class Observed:
    """What is observed of ``chosen`` layers, or of all where there are none: by their indices."""

    def __init__(self, device: torch.device, chosen: Sequence[int]) -> None:
        self.layers: dict[int, dict] = {}
        self.hidden: dict[int, torch.Tensor] = {}
        self.probing = Stopwatch(device)
        self._chosen = chosen

    @contextmanager
    def layers_of(self, loaded: Loaded, implementation: str) -> Iterator[None]:
        """Wrap the attention function that the text layers call, and hook the decoder layers."""
        family = loaded.family
        original = attention.function(family.modeling, implementation)
        eager = implementation == "eager"

        def attend(module, query, key, value, attention_mask, **kwargs):
            result = original(module, query, key, value, attention_mask, **kwargs)
            if isinstance(module, family.attention) and self._wants(module.layer_idx):
                with self.probing.on():
                    self.layers[module.layer_idx] = {
                        "type": module.layer_type,
                        "attention": result[0].flatten(2).clone(),
                        "declared": _declared(attention_mask, len(query), query.shape[2]),
                        "mask": probed(unkept(original), module, query, key, value, attention_mask, eager, kwargs),
                    }
            return result

        def keep(module, args, output, index):
            self.hidden[index] = (output[0] if isinstance(output, tuple) else output).clone()

        layers: list[torch.nn.Module] = [m for m in loaded.model.modules() if isinstance(m, family.decoder_layer)]
        hooks = [
            layer.register_forward_hook(partial(keep, index=index))
            for index, layer in enumerate(layers)
            if self._wants(index)
        ]
        try:
            with attention.replaced(family.modeling, implementation, attend):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _wants(self, index: int) -> bool:
        return not self._chosen or index in self._chosen


def probed(original, module, query, key, value, attention_mask, eager: bool, kwargs) -> probe.Recovered:
    """The mask of one attention call, for prompts (prompts, KV head groups, queries, bytes) over the columns of ``key``; query is
    (prompts, heads, queries, head size). Eager attention is two matrix products, whatever the head size is: there a pass covers
    more columns than it."""
    prompts, kv_heads, keys, channels = value.shape
    if eager:
        channels = min(WIDEST, channels * probe.passes_for(keys, channels))
    positions = torch.arange(keys, device=value.device)
    decoder = probe.Decoder()
    for index in range(probe.passes_for(keys, channels)):
        coded = probe.codes(positions, channels, index, value.dtype).expand(prompts, kv_heads, -1, -1)
        output = original(
            module, torch.zeros_like(query), torch.zeros_like(key), coded.contiguous(), attention_mask, **kwargs
        )
        decoder.add(output[0])
    return decoder.recovered(kv_heads)


def checked(recovered: probe.Recovered, doubtful: bool, mask: torch.Tensor, tokens: int, layer: int) -> torch.Tensor:
    """A layer's bit-packed mask (prompts, KV head groups, queries, bytes) over ``tokens`` keys, of which ``mask`` is a copy on the
    CPU."""
    try:
        if doubtful and (surplus := recovered.surplus()) is not None:
            raise probe.ProbeError(
                f"{int((surplus > 0).sum())} rows count up to {int(surplus.max())} keys more than they attend"
            )
        return probe.cut(mask, tokens)
    except probe.ProbeError as error:
        raise probe.ProbeError(f"reference, layer {layer}: {error}") from error


def _declared(attention_mask, prompts: int, tokens: int) -> torch.Tensor | None:
    """The mask tensor that transformers handed to the attention function, bit-packed (prompts, N, bytes); a flex
    block mask is not one."""
    if not torch.is_tensor(attention_mask):
        return None
    mask = attention_mask[:, 0, :tokens, :tokens].expand(prompts, -1, -1)
    return probe.pack(mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2)
