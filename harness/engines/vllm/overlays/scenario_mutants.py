"""Mutants of what happens to requests and of what layers are given: adapters, pipelines, fast prefill, drafts, shared keys,
per-layer inputs. Most of them leave every mask as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.engines.vllm.arguments import FAST_PREFILL
from harness.engines.vllm.overlays.changes import Changes
from harness.engines.vllm.overlays.overlay import Needs, Overlay
from harness.engines.vllm.overlays.targets import change_layers, change_windows_while, verifying
from harness.engines.vllm.releases import layer_metadata, model_of
from harness.errors import OverlayRefused

Mapping = Any
"""vLLM's `LoRAMapping`: the adapter of each token and of each sampled one, by its number, 0 for none."""
GEMMA4 = ("gemma4",)
LAST_PROJECTION = "mlp.down_proj"


def _adapters(change: Callable[[Mapping], Mapping]):
    """An overlay's `apply` that replaces which token has which adapter in a step."""

    def apply(worker, changes: Changes) -> None:
        if worker.model_runner.lora_config is None:
            raise OverlayRefused("this engine has no adapters")
        manager = worker.model_runner.lora_manager
        original = manager.set_active_adapters
        changes.set(manager, "set_active_adapters", lambda requests, mapping: original(requests, change(mapping)))

    return apply


def _of_the_first(mapping: Mapping) -> Mapping:
    index, prompts = mapping.index_mapping, mapping.prompt_mapping
    return replace(mapping, index_mapping=index[:1] * len(index), prompt_mapping=index[:1] * len(prompts))


def _none_while_decoding(mapping: Mapping) -> Mapping:
    index = mapping.index_mapping
    decodes = len(index) == len(mapping.prompt_mapping)
    return replace(mapping, index_mapping=(0,) * len(index)) if decodes else mapping


def _adapted(worker) -> list[tuple[str, Any]]:
    """The modules of the language model that take adapters, by their names."""
    modules = model_of(worker).named_modules()
    found = [
        (name, module) for name, module in modules if "language_model" in name and hasattr(module, "lora_a_stacked")
    ]
    if not found:
        raise OverlayRefused("this engine has no adapters")
    return found


def _without_the_last_projection(worker, changes: Changes) -> None:
    module = [module for name, module in _adapted(worker) if name.endswith(LAST_PROJECTION)][-1]
    base = module.base_layer
    changes.set(module, "apply", lambda x, bias=None: base.quant_method.apply(base, x, bias))


def _linear(change: Callable[..., tuple]):
    """An overlay's `apply` that calls the adapters' product with ``change(a, b, scale, slices)`` in place of these."""

    def apply(worker, changes: Changes) -> None:
        for wrapper in {id(module.punica_wrapper): module.punica_wrapper for _, module in _adapted(worker)}.values():
            original = wrapper.add_lora_linear

            def add(y, x, a, b, scale, slices, *more, original=original, **named):
                return original(y, x, *change(a, b, scale, slices), slices, *more, **named)

            changes.set(wrapper, "add_lora_linear", add)

    return apply


def _swapped(a: tuple, b: tuple, scale: float, slices: tuple[int, ...]) -> tuple:
    """The pairs of the second and the third of three slices, which are keys and values, in each other's place."""
    if len(slices) != 3 or slices[1] != slices[2]:
        return a, b, scale
    return (a[0], a[2], a[1]), (b[0], b[2], b[1]), scale


def _received(change: Callable[[Any], Any]):
    """An overlay's `apply` that changes the hidden states (tokens, channels) which a rank behind the first is sent."""

    def apply(worker, changes: Changes) -> None:
        from vllm.distributed.parallel_state import get_pp_group
        from vllm.model_executor.models.gemma4 import Gemma4Model
        from vllm.sequence import IntermediateTensors

        if get_pp_group().world_size == 1:
            raise OverlayRefused("this engine is no pipeline of ranks")
        original = Gemma4Model.forward

        def forward(self, input_ids, positions, intermediate_tensors, *more, **named):
            if intermediate_tensors is not None:
                sent = dict(intermediate_tensors.tensors)
                intermediate_tensors = IntermediateTensors({**sent, "hidden_states": change(sent["hidden_states"])})
            return original(self, input_ids, positions, intermediate_tensors, *more, **named)

        changes.set(Gemma4Model, "forward", forward)

    return apply


def _fast_prefill(worker) -> Any:
    """The model whose layers that share keys run some rows alone."""
    from vllm.model_executor.models.gemma4 import Gemma4Model

    model = next((module for module in model_of(worker).modules() if isinstance(module, Gemma4Model)), None)
    if model is None or not model.fast_prefill_enabled:
        raise OverlayRefused("this engine has no fast prefill")
    return model


def _key_not_seen(worker, changes: Changes) -> None:
    from vllm.v1.attention.backends import utils

    _fast_prefill(worker)
    original = utils.make_kv_sharing_fast_prefill_common_attn_metadata

    def made(common):
        found = original(common)
        return found if found is common else replace(found, seq_lens=(found.seq_lens - 1).clamp(min=1))

    changes.set(utils, "make_kv_sharing_fast_prefill_common_attn_metadata", made)


def _inputs_of_the_first_rows(worker, changes: Changes) -> None:
    model = _fast_prefill(worker)
    if model.per_layer_inputs is None:
        raise OverlayRefused("this model has no per-layer inputs")
    first, second = model.self_decoder.forward, model.cross_decoder.forward
    whole: list[Any] = []

    def self_decoder(*given, **named):
        hidden, inputs = first(*given, **named)
        whole[:] = [inputs]
        return hidden, inputs

    def cross_decoder(positions, hidden_states, per_layer_inputs=None, **named):
        return second(positions, hidden_states, whole[0][: len(hidden_states)], **named)

    changes.set(model.self_decoder, "forward", self_decoder)
    changes.set(model.cross_decoder, "forward", cross_decoder)


def _drafts_not_written(layer, changes: Changes) -> None:
    if not hasattr(layer.impl, "do_kv_cache_update"):
        raise OverlayRefused("this leaves out the cache write, which this back end does in its forward")
    original = layer.impl.do_kv_cache_update

    def update(layer_, key, value, kv_cache, slots, *more, **named):
        metadata = layer_metadata(layer_.layer_name)
        if verifying(metadata):
            slots = slots.clone()
            drafts = [at for at in range(len(slots)) if at not in metadata.query_start_loc.tolist()]
            slots[drafts] = -1
        original(layer_, key, value, kv_cache, slots, *more, **named)

    changes.set(layer.impl, "do_kv_cache_update", update)


def _keys_of_its_own(layer, changes: Changes) -> None:
    if getattr(layer, "kv_sharing_target_layer_name", None):
        own = layer.kv_cache
        changes.set(
            layer,
            "kv_cache",
            [one.new_zeros(one.shape) for one in own] if isinstance(own, list) else own.new_zeros(own.shape),
        )


def _placeholders_looked_up(worker, changes: Changes) -> None:
    model = model_of(worker)
    if getattr(model, "per_layer_embeddings", None) is None:
        raise OverlayRefused("this model has no per-layer inputs")
    original = model.embed_input_ids

    def embed(input_ids, multimodal_embeddings=None, *, is_multimodal=None, **more):
        original(input_ids)
        kept = model.per_layer_embeddings.clone()
        found = original(input_ids, multimodal_embeddings, is_multimodal=is_multimodal, **more)
        model.per_layer_embeddings.copy_(kept)
        return found

    changes.set(model, "embed_input_ids", embed)


def _without_soft_cap(worker, changes: Changes) -> None:
    from vllm.model_executor.layers.logits_processor import LogitsProcessor

    for module in model_of(worker).modules():
        if isinstance(module, LogitsProcessor):
            changes.set(module, "soft_cap", None)


def _of_adapters(name: str, sentence: str, changes: str, apply, source: str = "") -> Overlay:
    return Overlay(
        name, "mutant", sentence, (changes,), apply, source, needs=Needs.ADAPTER, families=GEMMA4, adapted=True
    )


def _of_a_pipeline(name: str, sentence: str, apply, source: str = "") -> Overlay:
    changes = ("Gemma4Model.forward",)
    return Overlay(
        name, "mutant", sentence, changes, apply, source, needs=Needs.PIPELINE, families=GEMMA4, pipelined=True
    )


SCENARIO_MUTANTS = [
    Overlay("shared-keys-of-its-own", "mutant", "layers that share keys have a cache of their own, which nobody writes",
            ("Attention.kv_cache",), change_layers(_keys_of_its_own), "vllm #43185", needs=Needs.SHARED_KEYS, families=GEMMA4),
    Overlay("per-layer-inputs-of-placeholders", "mutant", "soft tokens have the per-layer inputs of the placeholder's id",
            ("Gemma4ForConditionalGeneration.embed_input_ids",), _placeholders_looked_up, "coreai-models #83, maxtext #4790",
            needs=Needs.SHARED_KEYS, families=GEMMA4, of_model="per_layer_input"),
    Overlay("soft-cap-lost", "mutant", "logits are not capped", ("LogitsProcessor.soft_cap",), _without_soft_cap,
            "Megatron-Bridge #4645", families=GEMMA4),
    _of_adapters("adapter-of-the-first-row", "every token of a step has the adapter of its first token, or none",
                 "lora.worker_manager.WorkerLoRAManager.set_active_adapters", _adapters(_of_the_first), "vllm PR #48421"),
    _of_adapters("adapter-lost-in-decoding", "in steps of decoding nobody has an adapter",
                 "lora.worker_manager.WorkerLoRAManager.set_active_adapters", _adapters(_none_while_decoding)),
    _of_adapters("adapter-not-on-a-projection", "the last down projection is without its pair",
                 "lora.layers.base_linear.BaseLinearLayerWithLoRA.apply", _without_the_last_projection, "vllm #41754"),
    _of_adapters("adapter-scaled-twice", "an adapter's scale, which is in its weights, is applied once more",
                 "lora.punica_wrapper.PunicaWrapperBase.add_lora_linear", _linear(lambda a, b, scale, slices: (a, b, 2 * scale))),
    _of_adapters("adapter-slices-swapped", "where projections are packed into one, keys have the values' pair, and these theirs",
                 "lora.punica_wrapper.PunicaWrapperBase.add_lora_linear", _linear(_swapped)),
    _of_a_pipeline("pipeline-rows-shifted", "a rank behind the first takes each token for the one behind it",
                   _received(lambda hidden: hidden.roll(1, 0)), "vllm PR #40786"),
    _of_a_pipeline("pipeline-sends-16-bits", "hidden states that a rank sends are rounded to bfloat16",
                   _received(lambda hidden: hidden.bfloat16().to(hidden.dtype))),
    Overlay("fast-prefill-misses-a-key", "mutant", "in fast prefill layers that share keys do not see the newest one",
            ("v1.attention.backends.utils.make_kv_sharing_fast_prefill_common_attn_metadata",), _key_not_seen,
            "vllm #38879", needs=Needs.FAST_PREFILL, families=GEMMA4, argument=FAST_PREFILL),
    Overlay("fast-prefill-inputs-of-the-first-rows", "mutant",
            "in fast prefill layers that share keys have the per-layer inputs of the first rows",
            ("Gemma4Model.fast_prefill_forward",), _inputs_of_the_first_rows, needs=Needs.FAST_PREFILL, families=GEMMA4,
            of_model="per_layer_input", argument=FAST_PREFILL),
    Overlay("drafts-without-window", "mutant", "the window is off in steps that verify drafts",
            ("AttentionImpl.sliding_window",), change_windows_while(verifying, lambda window: (-1, -1)),
            "mlx-vlm #1138", needs=Needs.DRAFTS),
    Overlay("accepted-drafts-not-written", "mutant", "keys and values of drafts do not get into the cache, accepted or not",
            ("AttentionImpl.do_kv_cache_update",), change_layers(_drafts_not_written), "vllm #46281", needs=Needs.DRAFTS),
]  # fmt: skip
