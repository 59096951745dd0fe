"""The reference driver: transformers' models, with the mask of every attention call recovered by probing.

Run as ``PYTHON -m harness.references.transformers.driver READ_FD WRITE_FD``.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

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
    LoadReference,
    Prepare,
    Prepared,
    ReferenceModel,
    Request,
    RunReference,
    Stored,
)
from harness.drivers.stopwatch import Stopwatch
from harness.errors import UnsupportedPrompt
from harness.families import decoded
from harness.families.registry import build
from harness.masks import probe
from harness.prompts.prompt import Prompt
from harness.references.transformers import (
    attention,
    decoding,
    forcing,
    kv_cache,
    layerwise,
    memory,
    passes,
    precision,
    preparing,
    routing,
)
from harness.references.transformers.loading import Loaded, load
from harness.references.transformers.offloading import Offloaded
from harness.references.transformers.passes import Around, Pass

WIDEST = 2048
"""Channels of an eager probe."""
PAIRS_TOGETHER = 1 << 22
"""Query and key pairs of the prompts that are run together: their masks and the outputs of their probes are held at once."""


class Reference:
    """Answers for the checkpoint that is loaded, which is replaced whole or not at all; ``told`` hears how far it is."""

    def __init__(self, told: Callable[[str], None] = print) -> None:
        self.loaded: Loaded | None = None
        self._told = told

    def build(self, request: Build) -> Built:
        return Built(str(build(request.spec, request.cache)))

    def load(self, request: LoadReference) -> Done:
        """What was loaded goes first, since there may be no room for both; after a failure nothing is."""
        self.loaded = None
        gc.collect()
        memory.begin()
        self.loaded = load(request.model, request.device, self._told)
        return Done()

    @torch.no_grad()
    def run(self, request: RunReference) -> channel.Later[Captured]:
        """Capture prompts.

        Raises:
            RuntimeError: another model is loaded than is asked for.
            UnsupportedPrompt: a prompt is continued, and the model is run layer by layer.
        """
        loaded = self._loaded(request.model)
        if loaded.offloaded and any(prompt.continuation for prompt in request.prompts):
            raise UnsupportedPrompt("the reference's own decode is not run layer by layer")
        captures: dict[int, Stored] = {}
        groups = []
        for number, places in enumerate(together(request.prompts)):
            directory = request.out / str(number)
            groups.append(_Group(loaded, [request.prompts[place] for place in places], directory, request))
            captures.update({place: Stored(directory, index) for index, place in enumerate(places)})
        by_layer = loaded.offloaded
        finishing = _by_layer(groups, by_layer, self._told) if by_layer else [group.run() for group in groups]
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


class _Group:
    """Prompts of one length that are run together, and what is captured of them into the stack ``directory``."""

    def __init__(self, loaded: Loaded, prompts: list[Prompt], directory: Path, asked: RunReference) -> None:
        self._loaded = loaded
        self._prompts = prompts
        self._directory = directory
        self._arguments = _arguments(loaded, prompts)
        self._pictures = _pictures(loaded, prompts[0], self._arguments)
        self._tokens = self._arguments["input_ids"].shape[1]
        self._rows = chosen(asked.positions, self._tokens)
        self._observed = _Observed(loaded.device, asked.layers)
        self._forced = asked.forced
        self.prompts = len(prompts)
        self.passes = self._passes(asked.samples)

    def run(self) -> Callable[[], None]:
        """Run the prompts through models that are loaded whole; what is returned waits for the GPU and writes the captures."""
        whole = Stopwatch(self._loaded.device)
        with whole.on():
            logits = passes.run(self.passes)
            cached = self._decoded() if self._prompts[0].continuation and not self._forced else {}
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
            by_rows,
            partial(precision.kept, loaded.truth.dtype),
            partial(attention.unrounded, loaded.family.modeling),
            forced,
        )

        @contextmanager
        def watched() -> Iterator[None]:
            with self._observed.layers_of(loaded, own), routing.recorded(loaded.routers, rounded):
                yield

        def run(name: str, model: torch.nn.Module, within: tuple[Around, ...], watched: Around = nullcontext) -> Pass:
            return Pass(name, model, partial(_forward, loaded, model, self._arguments, at), within, watched)

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

    def _decoded(self) -> dict[str, torch.Tensor]:
        """Logits from the reference's own cache."""
        loaded, steps = self._loaded, len(self._prompts[0].continuation)
        with attention.by_rows(loaded.family.modeling), _as_cached(loaded, loaded.of.attention):
            cached = decoding.decoded(loaded.model, self._arguments, loaded.family.types, steps)
        return {
            "cached.logits": cached[:, [row - self._tokens for row in self._rows if row >= self._tokens - steps - 1]]
        }

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
                host[f"mask.{index}"] = _checked(recovered, doubtful, host[f"mask.{index}"], self._tokens, index)
            each = zip(host.pop("input_ids").tolist(), host.pop("types").tolist(), strict=True)
            own = [PromptFacts(tuple(ids), tuple(types), pictures=self._pictures) for ids, types in each]
            probing = observed.probing.seconds() / len(self._prompts)
            seconds = {"reference": took() - probing, "reference probing": probing}
            facts = replace(
                loaded.facts,
                layers=tuple(kept),
                logits_at=tuple(self._rows),
                seconds=seconds,
                memory=memory.peak(loaded.device),
            )
            write.write(self._directory, host, facts, own)

        return finish


def _by_layer(groups: Sequence[_Group], offloaded: Offloaded, told: Callable[[str], None]) -> list[Callable[[], None]]:
    """As `_Group.run` of each group, all of them in one pass over the checkpoint."""
    start = time.perf_counter()
    logits = iter(layerwise.run([one for group in groups for one in group.passes], offloaded, told))
    took = (time.perf_counter() - start) / sum(group.prompts for group in groups)
    return [group.keep([next(logits) for _ in group.passes], lambda: took) for group in groups]


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
    """A text with pictures, through transformers' processor and, of a chat, the checkpoint's chat template."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(loaded.of.checkpoint, trust_remote_code=False)
    images = [*map(decoded.read, prompt.images)]
    if prompt.chat:
        if not processor.chat_template:
            raise UnsupportedPrompt("a message goes through a chat template, and the checkpoint has none")
        content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": prompt.text}]
        batch = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
    else:
        batch = processor(text=prompt.text, images=images or None, return_tensors="pt")
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

        def attend(module, query, key, value, attention_mask, **kwargs):
            result = original(module, query, key, value, attention_mask, **kwargs)
            if isinstance(module, family.attention) and self._wants(module.layer_idx):
                with self.probing.on():
                    self.layers[module.layer_idx] = {
                        "type": module.layer_type,
                        "attention": result[0].flatten(2).clone(),
                        "declared": _declared(attention_mask, len(query), query.shape[2]),
                        "mask": _probe(
                            original, module, query, key, value, attention_mask, implementation == "eager", kwargs
                        ),
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
    telling = channel.Telling()
    channel.serve(handlers(Reference(telling)), int(sys.argv[1]), int(sys.argv[2]), telling)


if __name__ == "__main__":
    main()
