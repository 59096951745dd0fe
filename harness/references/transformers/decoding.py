"""Running the reference with its own cache, through `generate` and all that it prepares, with the tokens given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.drivers.messages import Caching
from harness.masks import probe
from harness.references.transformers import attention, observing
from harness.references.transformers.columns import Columns
from harness.references.transformers.loading import Loaded

DYNAMIC = Caching("dynamic")
"""What `generate` makes by itself."""


class Given:
    """A logits processor that leaves one token at each step: that of ``tokens`` (prompts, all positions) at the step's
    position."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self.tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        at = min(input_ids.shape[1], self.tokens.shape[1] - 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, self.tokens[:, at, None], 0.0)


def run(loaded: Loaded, arguments: dict, steps: int, caching: Caching, *, whole: bool) -> torch.Tensor:
    """Logits (prompts, N, V) of all positions of ``input_ids``: the prompt is all but the last ``steps`` tokens, and is computed as
    ``caching`` says; those are decoded one by one. Unless ``whole``, logits (prompts, ``steps`` + 1, V) from the prompt's last
    token on.

    Raises:
        RuntimeError: `generate` computed logits of another number of positions.
    """
    model, types = loaded.model, loaded.family.types
    tokens = arguments["input_ids"].shape[1]
    own = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in arguments.items()}
    own |= {name: own[name][:, : tokens - steps] for name in ("input_ids", types)}
    more = {} if caching.prefill_chunk is None else {"prefill_chunk_size": caching.prefill_chunk}
    seen: list[torch.Tensor] = []
    hook = model.register_forward_hook(lambda module, args, output: seen.append(output.logits))
    try:
        model.generate(
            **own,
            **more,
            attention_mask=torch.ones_like(own["input_ids"]),
            max_new_tokens=steps + 1,
            do_sample=False,
            logits_processor=[Given(arguments["input_ids"])],
            cache_implementation=None if caching == DYNAMIC else caching.kind,
            disable_compile=True,
            logits_to_keep=0 if whole else 1,
        )
    finally:
        hook.remove()
    logits = torch.cat(seen, dim=1)
    wanted = tokens if whole else steps + 1
    if logits.shape[1] != wanted:
        raise RuntimeError(f"generate computed the logits of {logits.shape[1]} positions, and {wanted} were asked for")
    return logits


@dataclass
class Observed:
    """What each attention call of a run with a cache attended, by the layer's index, and the position of each of its columns."""

    tokens: int
    calls: dict[int, list[tuple[torch.Tensor, probe.Recovered]]] = field(default_factory=dict)

    def masks(self) -> dict[int, torch.Tensor]:
        """Bit-packed masks (prompts, KV head groups, N, bytes) over positions.

        Raises:
            ProbeError: a mask was not recovered, or a column is attended in which nothing was written.
        """
        return {layer: self._of(layer) for layer in self.calls}

    def _of(self, layer: int) -> torch.Tensor:
        rows = [self._call(layer, held, recovered) for held, recovered in self.calls[layer]]
        return probe.pack(torch.cat(rows, dim=-2))

    def _call(self, layer: int, held: torch.Tensor, recovered: probe.Recovered) -> torch.Tensor:
        columns = len(held)
        packed = observing.checked(recovered, bool(recovered.doubtful), recovered.mask, columns, layer)
        attended = unpacked(packed, columns)
        empty = held < 0
        if attended[..., empty].any():
            raise probe.ProbeError(f"reference, layer {layer}: a column of the cache is attended that holds nothing")
        whole = attended.new_zeros((*attended.shape[:-1], self.tokens))
        whole[..., held[~empty]] = attended[..., ~empty]
        return whole


def unpacked(packed: torch.Tensor, columns: int) -> torch.Tensor:
    """What `probe.pack` packed: (..., bytes) as boolean (..., columns)."""
    bits = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    return ((packed[..., None] >> bits) & 1).bool().flatten(-2)[..., :columns]


@contextmanager
def observed(loaded: Loaded, tokens: int) -> Iterator[Observed]:
    """Observe every attention call of text layers of `run`, whose prompt has ``tokens`` with its continuation."""
    family, implementation = loaded.family, loaded.of.attention
    text: type[Any] = family.attention
    original = attention.function(family.modeling, implementation)
    columns, found = Columns(), Observed(tokens)

    def attend(module: Any, query, key, value, attention_mask, **kwargs: Any) -> Any:
        if isinstance(module, text):
            eager = implementation == "eager"
            recovered = observing.probed(original, module, query, key, value, attention_mask, eager, kwargs)
            found.calls.setdefault(module.layer_idx, []).append((columns.of(key), recovered))
        return original(module, query, key, value, attention_mask, **kwargs)

    with attention.replaced(family.modeling, implementation, attend), columns.followed():
        yield found
