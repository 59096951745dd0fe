"""The reference driver: transformers' models, with the mask of every attention call recovered by probing.

Run as ``PYTHON -m harness.references.transformers.driver READ_FD WRITE_FD``.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from harness.captures import pictures, write
from harness.captures.facts import ATTENTION_VALUES, LayerFacts, PictureFacts, PromptFacts
from harness.captures.selection import chosen
from harness.drivers import channel
from harness.drivers.messages import (
    Build,
    Built,
    Captured,
    Done,
    Forced,
    LoadReference,
    Prepare,
    Prepared,
    ReferenceModel,
    Request,
    RunReference,
    Stored,
)
from harness.drivers.stopwatch import Stopwatch
from harness.families import decoded
from harness.families.registry import build
from harness.masks import probe
from harness.prompts.prompt import Prompt
from harness.references.transformers import attention, decoding, forcing, kv_cache, precision, preparing, routing
from harness.references.transformers.loading import Loaded, load

WIDEST = 2048
"""Channels of an eager probe."""
PAIRS_TOGETHER = 1 << 22
"""Query and key pairs of the prompts that are run together: their masks and the outputs of their probes are held at once."""


class Reference:
    """Answers for the checkpoint that is loaded, which is replaced whole or not at all."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None

    def build(self, request: Build) -> Built:
        return Built(str(build(request.spec, request.cache)))

    def load(self, request: LoadReference) -> Done:
        """What was loaded goes first, since there may be no room for both; after a failure nothing is."""
        self.loaded = None
        gc.collect()
        self.loaded = load(request.model, request.device)
        return Done()

    def run(self, request: RunReference) -> channel.Later[Captured]:
        """Capture prompts.

        Raises:
            RuntimeError: another model is loaded than is asked for.
        """
        loaded = self._loaded(request.model)
        captures: dict[int, Stored] = {}
        finishing = []
        for number, places in enumerate(together(request.prompts)):
            directory = request.out / str(number)
            group = [request.prompts[place] for place in places]
            finishing.append(self._capture(loaded, group, directory, request))
            captures.update({place: Stored(directory, index) for index, place in enumerate(places)})
        answer = Captured(tuple(captures[place] for place in range(len(request.prompts))))
        return channel.Later(answer, lambda: [finish() for finish in finishing])

    @torch.no_grad()
    def prepare(self, request: Prepare) -> Prepared:
        """Prepare prompts for another reference; raises as `run`."""
        loaded = self._loaded(request.model)
        each = []
        for place, prompt in enumerate(request.prompts):
            arguments = _arguments(loaded, [prompt])
            made, file = _pictures(loaded, prompt, arguments), request.out / f"{place}.safetensors"
            each.append(preparing.prepared(loaded, arguments, made, partial(_last_forward, loaded), file))
        facts = loaded.facts
        return Prepared(tuple(each), facts.after, facts.special, facts.loaded.checkpoint)

    def _loaded(self, model: ReferenceModel) -> Loaded:
        if self.loaded is None or self.loaded.of != model:
            raise RuntimeError(f"{model} was asked for, and {self.loaded.of if self.loaded else 'nothing'} is loaded")
        return self.loaded

    @torch.no_grad()
    def _capture(
        self, loaded: Loaded, prompts: list[Prompt], directory: Path, asked: RunReference
    ) -> Callable[[], None]:
        """Run prompts of one length together; what is returned waits for the GPU and writes the stack of their captures."""
        arguments = _arguments(loaded, prompts)
        made = _pictures(loaded, prompts[0], arguments)
        tokens = arguments["input_ids"].shape[1]
        rows = chosen(asked.positions, tokens)
        at = torch.tensor(rows, device=loaded.device)
        whole = Stopwatch(loaded.device)
        forced = partial(_forced, loaded, asked.forced, tokens)
        own = forcing.IMPLEMENTATION if asked.forced else loaded.of.attention
        as_forced = attention.implemented(loaded.family, loaded.model, own) if asked.forced else nullcontext()
        with whole.on(), as_forced, attention.by_rows(loaded.family.modeling):
            with (
                forced(),
                _as_cached(loaded, own),
                _observed(loaded, own, asked.layers) as observed,
                routing.recorded(loaded.routers) as rounded,
            ):
                tensors = {"logits": _forward(loaded, loaded.model, arguments, at)}
            if asked.samples > 1:
                other = attention.OTHER[loaded.of.attention]
                with _as_cached(loaded, other), attention.implemented(loaded.family, loaded.model, other):
                    tensors["again.logits"] = _forward(loaded, loaded.model, arguments, at)
            with precision.kept(loaded.truth.dtype), attention.unrounded(loaded.family.modeling), forced():
                with routing.recorded(loaded.routers_of_truth) as exact:
                    truth = _forward(loaded, loaded.truth, arguments, at)
                tensors["truth.logits"] = truth.to(torch.float32)
                if exact:
                    with routing.swapped(loaded.routers_of_truth, exact, rounded):
                        tensors["routed.logits"] = _forward(loaded, loaded.truth, arguments, at).to(torch.float32)
            steps = 0 if asked.forced else len(prompts[0].continuation)
            if steps:
                with _as_cached(loaded, loaded.of.attention):
                    cached = decoding.decoded(loaded.model, arguments, loaded.family.types, steps)
                tensors["cached.logits"] = cached[:, [row - tokens for row in rows if row >= tokens - steps - 1]]
            if loaded.device.type == "cuda" and loaded.dtype == torch.float32:
                with forced(), _as_cached(loaded, own), precision.tf32():
                    tensors["tf32.logits"] = _forward(loaded, loaded.model, arguments, at)
        kept = []
        for index, seen in sorted(observed.layers.items()):
            tensors[f"mask.{index}"] = seen["mask"].mask
            if seen["attention"][0].numel() <= ATTENTION_VALUES:
                tensors[f"attention.{index}"] = seen["attention"]
            tensors[f"hidden.{index}"] = observed.hidden[index]
            if seen["declared"] is not None:
                tensors[f"declared.{index}"] = seen["declared"]
            kept.append(LayerFacts(index, seen["type"]))
        tensors |= {"input_ids": arguments["input_ids"], "types": arguments[loaded.family.types]}
        masks = {index: seen["mask"] for index, seen in observed.layers.items()}
        tensors["doubtful"] = torch.stack([recovered.doubtful for recovered in masks.values()])
        arrived = write.to_host(tensors)

        def finish() -> None:
            host = arrived()
            for (index, recovered), doubtful in zip(masks.items(), host.pop("doubtful").tolist(), strict=True):
                host[f"mask.{index}"] = _checked(recovered, doubtful, host[f"mask.{index}"], tokens, index)
            each = zip(host.pop("input_ids").tolist(), host.pop("types").tolist(), strict=True)
            own = [PromptFacts(tuple(ids), tuple(types), pictures=made) for ids, types in each]
            probing = observed.probing.seconds()
            seconds = {
                "reference": (whole.seconds() - probing) / len(prompts),
                "reference probing": probing / len(prompts),
            }
            facts = replace(loaded.facts, layers=tuple(kept), logits_at=tuple(rows), seconds=seconds)
            write.write(directory, host, facts, own)

        return finish


def _forced(loaded: Loaded, forced: Forced | None, tokens: int) -> AbstractContextManager[None]:
    """The masks that are laid over the reference, if some are."""
    window = loaded.model.config.get_text_config().sliding_window
    masks = forcing.masks(forced, tokens, window, loaded.device) if forced else {}
    return forcing.laid_over(loaded.family, forced, masks)


def _as_cached(loaded: Loaded, implementation: str) -> AbstractContextManager[None]:
    return kv_cache.rounding(loaded.family, implementation, loaded.of.kv_dtype)


def together(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Which prompts are run together: those of one length with text and images only, up to `PAIRS_TOGETHER`."""
    groups: dict[object, list[list[int]]] = {}
    for place, prompt in enumerate(prompts):
        length = len(prompt.token_ids) + len(prompt.continuation)
        plain = prompt.text is None and all(item.modality == "image" for item in prompt.items)
        found = groups.setdefault((length, len(prompt.continuation)) if plain else (place,), [[]])
        if found[-1] and (len(found[-1]) + 1) * length**2 > PAIRS_TOGETHER:
            found.append([])
        found[-1].append(place)
    return [places for found in groups.values() for places in found]


def _arguments(loaded: Loaded, prompts: list[Prompt]) -> dict:
    if prompts[0].text is not None:
        return _processed(loaded, prompts[0])
    arguments = loaded.family.arguments([prompt.whole for prompt in prompts], loaded.model.config)
    return {name: tensor.to(loaded.device) for name, tensor in arguments.items()}


def _processed(loaded: Loaded, prompt: Prompt) -> dict:
    """A text with pictures, through transformers' processor."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(loaded.of.checkpoint, trust_remote_code=False)
    batch = processor(text=prompt.text, images=[*map(decoded.read, prompt.images)] or None, return_tensors="pt")
    batch.pop("attention_mask", None)
    words = torch.tensor([prompt.continuation], dtype=torch.long)
    for name, more in (("input_ids", words), (loaded.family.types, torch.zeros_like(words))):
        batch[name] = torch.cat([batch[name], more], dim=1)
    return {name: value.to(loaded.device) for name, value in batch.items() if torch.is_tensor(value)}


def _pictures(loaded: Loaded, prompt: Prompt, arguments: dict) -> tuple[PictureFacts, ...] | None:
    """What the processor made of the pictures of a text."""
    if prompt.text is None:
        return None
    return pictures.processed(*loaded.family.pictures(arguments), loaded.dtype)


def _forward(loaded: Loaded, model, arguments: dict, rows: torch.Tensor) -> torch.Tensor:
    """Logits (prompts, rows, V) of one of the loaded models at the positions ``rows``, on its device."""
    dtype = model.dtype
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in arguments.items()}
    return loaded.family.forward(model, given, rows)


def _last_forward(loaded: Loaded, model: torch.nn.Module, arguments: dict) -> torch.Tensor:
    """The logits of the last token, and no others."""
    return _forward(loaded, model, arguments, torch.tensor([-1], device=model.device))


class _Observed:
    def __init__(self, device: torch.device) -> None:
        self.layers: dict[int, dict] = {}
        self.hidden: dict[int, torch.Tensor] = {}
        self.probing = Stopwatch(device)


@contextmanager
def _observed(loaded: Loaded, implementation: str, layers: Sequence[int]):
    """Wrap the attention function that the text layers call, and hook the decoder layers; ``layers`` or all of them."""
    model, family = loaded.model, loaded.family
    original = attention.function(family.modeling, implementation)
    observed = _Observed(model.device)

    def attend(module, query, key, value, attention_mask, **kwargs):
        result = original(module, query, key, value, attention_mask, **kwargs)
        if isinstance(module, family.attention) and (not layers or module.layer_idx in layers):
            with observed.probing.on():
                observed.layers[module.layer_idx] = {
                    "type": module.layer_type,
                    "attention": result[0].flatten(2).clone(),
                    "declared": _declared(attention_mask, len(query), query.shape[2]),
                    "mask": _probe(
                        original, module, query, key, value, attention_mask, implementation == "eager", kwargs
                    ),
                }
        return result

    decoder_layers: list[torch.nn.Module] = [m for m in model.modules() if isinstance(m, family.decoder_layer)]
    hooks = []
    for index, layer in enumerate(decoder_layers):
        if layers and index not in layers:
            continue

        def keep(module, args, output, index=index):
            observed.hidden[index] = (output[0] if isinstance(output, tuple) else output).clone()

        hooks.append(layer.register_forward_hook(keep))
    try:
        with attention.replaced(family.modeling, implementation, attend):
            yield observed
    finally:
        for hook in hooks:
            hook.remove()


def _probe(original, module, query, key, value, attention_mask, eager: bool, kwargs) -> probe.Recovered:
    """The mask of one attention call, for prompts (prompts, KV head groups, N, bytes); query is (prompts, heads, N, head
    size). Eager attention is two matrix products, whatever the head size is: there a pass covers more keys than it."""
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


def _checked(recovered: probe.Recovered, doubtful: bool, mask: torch.Tensor, tokens: int, layer: int) -> torch.Tensor:
    """A layer's bit-packed mask (prompts, KV head groups, N, bytes), of which ``mask`` is a copy on the CPU."""
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


def handlers(reference: Reference) -> dict[type[Request], channel.Handler]:
    """What each request is answered by."""
    return {
        Build: reference.build,
        LoadReference: reference.load,
        Prepare: reference.prepare,
        RunReference: reference.run,
    }


def main() -> None:
    torch.manual_seed(0)
    channel.serve(handlers(Reference()), int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
