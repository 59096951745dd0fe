"""One prompt through keras-hub's model, with what its attention computes seen beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from harness.masks import probe
from harness.references.keras_hub import precision
from harness.references.prepared import AUDIO
from harness.references.transformers import routing


@dataclass
class Seen:
    """By the index of a layer: its mask, bit-packed uint8 (KV head groups, N, bytes), the attention output (N, heads * head size)
    and the hidden state after it (N, hidden size)."""

    masks: dict[int, torch.Tensor] = field(default_factory=dict)
    attention: dict[int, torch.Tensor] = field(default_factory=dict)
    hidden: dict[int, torch.Tensor] = field(default_factory=dict)


def inputs(
    backbone: Any, token_ids: tuple[int, ...], types: tuple[int, ...], soft: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What the model is given for a prompt, as keras-hub's preprocessor lays it out; ``soft`` are the embeddings of its soft tokens
    (soft tokens, hidden size). Videos are images to it, and sounds are merged in apart."""
    device, kinds = soft.device, torch.tensor(types, device=soft.device)
    tokens = torch.tensor([token_ids], dtype=torch.int32, device=device)
    of_soft = kinds[kinds != 0]
    seen, heard = (kinds != 0) & (kinds != AUDIO), kinds == AUDIO
    images, sounds = soft[of_soft != AUDIO], soft[of_soft == AUDIO]
    made = {
        "token_ids": tokens,
        "padding_mask": torch.ones_like(tokens),
        "position_ids": torch.arange(len(types), dtype=torch.int32, device=device)[None],
        "pixel_values": _together(images),
        "pixel_position_ids": torch.zeros(1, int(len(images) > 0), 1, 2, dtype=torch.int32, device=device),
        "vision_indices": _where(seen),
        "vision_mask": seen.int()[None],
    }
    if backbone.audio_encoder is not None:
        given = _together(sounds)
        made |= {
            "audio_mel": given,
            "audio_mel_mask": torch.ones(given.shape[:3], dtype=torch.int32, device=device),
            "audio_indices": _where(heard),
            "audio_mask": heard.int()[None],
        }
    return made


def _together(soft: torch.Tensor) -> torch.Tensor:
    """Soft tokens as those of one picture, (1, 1, soft tokens, hidden size); of no picture where there are none."""
    return soft[None, None] if len(soft) else soft.new_zeros(1, 0, 1, soft.shape[-1])


def _where(chosen: torch.Tensor) -> torch.Tensor:
    return chosen.nonzero()[:, 0].int()[None]


@torch.no_grad()
def logits(backbone: Any, given: dict[str, torch.Tensor], *within: Any) -> torch.Tensor:
    """Logits (N, V): what `Gemma4CausalLM` does; its soft cap is of the embedding.

    Raises:
        RuntimeError: they are not in the precision of the model.
    """
    with ExitStack() as stack:
        for context in (precision.kept(backbone.compute_dtype), *within):
            stack.enter_context(context)
        made = backbone.token_embedding(backbone(given), reverse=True)[0]
    if made.dtype != getattr(torch, backbone.compute_dtype):
        raise RuntimeError(f"keras-hub gave logits in {made.dtype}, and its model is in {backbone.compute_dtype}")
    return made


@contextmanager
def observed(backbone: Any, seen: Seen) -> Iterator[None]:
    """Call every attention further times, with its queries and keys 0 and codes as values, and keep what comes out."""
    from keras_hub.src.models.gemma4.gemma4_attention import Gemma4TextAttention
    from keras_hub.src.models.gemma4.gemma4_decoder_block import Gemma4TextDecoderBlock

    layers = {id(block): index for index, block in enumerate(backbone.transformer_layers)}
    layers |= {id(block.attention): index for index, block in enumerate(backbone.transformer_layers)}
    attend, run = Gemma4TextAttention._compute_attention, Gemma4TextDecoderBlock.call

    def attending(
        attention: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, **more: Any
    ) -> torch.Tensor:
        result, index = attend(attention, q, k, v, mask, **more), layers[id(attention)]
        seen.attention[index] = result[0].flatten(1)
        seen.masks[index] = _probed(partial(attend, attention), q, k, v, mask, more, index)
        return result

    def running(block: Any, *args: Any, **kwargs: Any) -> Any:
        result = run(block, *args, **kwargs)
        seen.hidden[layers[id(block)]] = result[0][0]
        return result

    with (
        _replaced(Gemma4TextAttention, "_compute_attention", attending),
        _replaced(Gemma4TextDecoderBlock, "call", running),
    ):
        yield


def _probed(
    attend: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, more: dict[str, Any], index: int
) -> torch.Tensor:
    """The mask of one attention call; q is (1, N, heads, head size), v (1, N, KV heads, head size)."""
    _, tokens, kv_heads, channels = v.shape
    positions, decoder = torch.arange(tokens, device=v.device), probe.Decoder()
    for number in range(probe.passes_for(tokens, channels)):
        coded = probe.codes(positions, channels, number, v.dtype)[None, :, None].expand_as(v)
        decoder.add(attend(torch.zeros_like(q), torch.zeros_like(k), coded.contiguous(), mask, **more)[0])
    recovered = decoder.recovered(kv_heads)
    try:
        if (surplus := recovered.surplus()) is not None:
            raise probe.ProbeError(f"rows count up to {int(surplus.max())} keys more than they attend")
        return probe.cut(recovered.mask, tokens)
    except probe.ProbeError as error:
        raise probe.ProbeError(f"reference, layer {index}: {error}") from error


def routers(backbone: Any) -> list[Any]:
    """The routers of the model's layers, in their order; none in a dense one."""
    return [block.moe_router for block in backbone.transformer_layers if block.enable_moe_block]


@contextmanager
def scored(backbone: Any, scores: list[torch.Tensor]) -> Iterator[None]:
    """Add to ``scores`` those (N, experts) that each router gives, as they are made."""

    def keep(place: int, made: torch.Tensor) -> torch.Tensor:
        scores.append(made)
        return made

    with _hooked(backbone, keep):
        yield


@contextmanager
def swapped(backbone: Any, exact: list[torch.Tensor], rounded: list[torch.Tensor]) -> Iterator[None]:
    """Let each router decide ties the other way, as `harness.references.transformers.routing` says."""
    taken = [router.num_experts_per_token for router in routers(backbone)]

    def swap(place: int, made: torch.Tensor) -> torch.Tensor:
        return routing.otherwise(made, taken[place], routing.reach(exact[place], rounded[place], taken[place]))

    with _hooked(backbone, swap):
        yield


@contextmanager
def _hooked(backbone: Any, act: Callable[[int, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Let what ``act`` makes of a router's scores, given its place, take their place."""
    with ExitStack() as stack:
        for place, router in enumerate(routers(backbone)):
            call = router.proj.call
            stack.enter_context(
                _replaced(
                    router.proj, "call", lambda *args, call=call, place=place, **more: act(place, call(*args, **more))
                )
            )
        yield


@contextmanager
def _replaced(owner: Any, name: str, other: Callable) -> Iterator[None]:
    before = vars(owner).get(name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
