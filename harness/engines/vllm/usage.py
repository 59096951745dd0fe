"""What vLLM of this machine and release would refuse of what is asked of it, found before it starts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.engines.adapter import Asked
from harness.engines.vllm import given
from harness.engines.vllm.arguments import ASYNCHRONOUS, FIELD, value
from harness.engines.vllm.attention_backends import ATTENTION_BACKENDS, backend
from harness.engines.vllm.options import PARTITION, TOGETHER, EngineOptions, kv_tokens
from harness.engines.vllm.overlays import OVERLAYS, check_names
from harness.engines.vllm.release import Release, release_of
from harness.errors import OverlayRefused, UsageError
from harness.families.registry import family_of
from harness.prompts.model_spec import ModelSpec
from harness.prompts.scenario import MTP, NGRAM, NOBODY, Scenario

HAVE_NAN = ("auto", "float16", "bfloat16")
"""KV dtypes that can be poisoned; torch fills no tensor of 8 bits with NaN."""
FLEX_WRITER = "reshape_and_cache_flash"


def check(asked: Asked, python: str, platform: str, version: str, found: Mapping[str, Any]) -> None:
    """Find what the engine or a worker of it would refuse when everything is loaded. ``found`` is what the interpreter has.

    Raises:
        UsageError: some value is not allowed.
    """
    options, scenario, spec, tokens = asked.options, asked.scenario, asked.spec, asked.tokens
    release = release_of(python)
    options.check_platform(platform)
    _check_gpus(options, platform, found)
    if platform == "cpu" and options.backend == "flex" and not release.registers(FLEX_WRITER):
        why = f"triton or cpu: vLLM {version} lacks the operator that flex writes its cache with ({FLEX_WRITER})"
        raise UsageError("backend", "flex", why)
    if platform == "cpu" and options.runner == "v2" and options.backend != "triton":
        raise UsageError("runner", "v2", f"v1 or auto with the back end {options.backend} on a CPU: V2 requires Triton")
    _check_ranks(options, spec)
    _check_pipeline(options, spec)
    _check_block(options, spec, release, platform)
    check_overlays(asked.overlays, version)
    check_changed(asked, platform)
    _check_dtype(options, spec)
    _check_batch(scenario, spec, tokens)
    _check_poison(options, scenario)
    _check_drafts(options, scenario, spec, release, version)
    _check_adapter(scenario, spec)
    given.check(asked, release, version)
    _check_schedule(options, scenario, release, version, platform)
    given.check_step(options, scenario, spec, release, platform)


def _check_schedule(options: EngineOptions, scenario: Scenario, release: Release, version: str, platform: str) -> None:
    """What vLLM plans no step ahead of (`config/vllm.py`, `VllmConfig.__post_init__`)."""
    if not value(dict(options.arguments).get(ASYNCHRONOUS, "false")):
        return
    why = ""
    if options.pipeline_parallel > 1 and options.runner != "v2":
        why = "with --pipeline-parallel only --runner v2 plans steps ahead"
    elif scenario.drafter == NGRAM:
        why = "with drafts of n-grams no step is planned ahead"
    elif platform == "cpu" and not release.plans_ahead_on_a_cpu(options.runner):
        why = f"vLLM {version} plans steps ahead with a GPU alone, or with another --runner"
    if why:
        raise UsageError(FIELD, f"{ASYNCHRONOUS}=true", f"false: {why}")


def _check_gpus(options: EngineOptions, platform: str, found: Mapping[str, Any]) -> None:
    most, has = (found["gpus"], gpus_there(found)) if platform == "cuda" else _cores()
    if options.tensor_parallel > most:
        raise UsageError("tensor_parallel", options.tensor_parallel, f"at most {most}, {has}")
    if options.ranks > most:
        beside = f" with --tensor-parallel {options.tensor_parallel}" if options.tensor_parallel > 1 else ""
        at_most = f"at most {most // options.tensor_parallel}{beside}, {has}"
        raise UsageError("pipeline_parallel", options.pipeline_parallel, at_most)


def _cores() -> tuple[int, str]:
    cores = os.cpu_count() or 1
    return cores, f"this machine has {cores} cores"


def gpus_there(found: Mapping[str, Any]) -> str:
    """How many GPUs an interpreter sees, in words; ``found`` is what `inspect` says of it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = f"{found['gpus'] or 'no'} GPU{'s' * (found['gpus'] > 1)}"
    return f"this machine has {count}" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r} leaves {count}"


def check_overlays(names: Sequence[str], version: str) -> None:
    """Raise UsageError for a name that is no overlay's, comes twice, excludes another one, or does not fit this release."""
    check_names(names)
    for place, name in enumerate(names):
        overlay = OVERLAYS[name]
        if name in names[:place]:
            raise UsageError("overlay", name, "it is given twice; give it once")
        for other in names:
            if other in overlay.excludes:
                raise UsageError(
                    "overlay", f"{name} and {other}", f"one of the two: {overlay.sentence}; {OVERLAYS[other].sentence}"
                )
        try:
            overlay.check(version)
        except OverlayRefused as error:
            raise UsageError("overlay", name, str(error)) from None


def check_changed(asked: Asked, platform: str) -> None:
    """Raise UsageError where what an overlay changes is not there: no worker is asked for what the setting and the model say
    already."""
    options, spec, family = asked.options, asked.spec, family_of(asked.spec)
    runs = backend(options.backend).implementation
    for overlay in (OVERLAYS[name] for name in asked.overlays):
        if not overlay.fits(family.name):
            why = f"it changes what {family.title} does not have"
            raise UsageError("overlay", overlay.name, f"not with {spec.name}: {why}")
        if overlay.platforms and platform not in overlay.platforms:
            raise UsageError(
                "overlay", overlay.name, f"on {' or '.join(overlay.platforms)} alone; serving runs on {platform}"
            )
        if overlay.implementation and runs and overlay.implementation not in runs:
            having = [one.name for one in ATTENTION_BACKENDS.values() if overlay.implementation in one.implementation]
            why = f"it changes {overlay.implementation}, which the back end {options.backend} does not run"
            raise UsageError("overlay", overlay.name, f"with --backend {' or '.join(having)}: {why}")
        if overlay.of_model and not getattr(spec, overlay.of_model):
            has = ", ".join(name for name, one in family.presets.items() if getattr(one, overlay.of_model))
            what = overlay.of_model.replace("_", " ")
            raise UsageError("overlay", overlay.name, f"with a model that has a {what} ({has}); {spec.name} has none")
        if overlay.adapted and asked.scenario.adapter == NOBODY:
            raise UsageError("overlay", overlay.name, "with --adapter: no other engine has adapters")
        if overlay.pipelined and options.pipeline_parallel == 1:
            raise UsageError(
                "overlay", overlay.name, "with --pipeline-parallel: no other engine is a pipeline of ranks"
            )
        if overlay.argument and not value(dict(options.arguments).get(overlay.argument, "false")):
            raise UsageError(
                "overlay", overlay.name, f"with --{FIELD} {overlay.argument}=true: it changes what that does"
            )


def _check_dtype(options: EngineOptions, spec: ModelSpec) -> None:
    family = family_of(spec)
    if options.dtype not in family.dtypes:
        allowed = " or ".join(family.dtypes)
        raise UsageError("dtype", options.dtype, f"{allowed} with {spec.name}: vLLM serves {family.title} in no other")


def _check_ranks(options: EngineOptions, spec: ModelSpec) -> None:
    ranks = options.tensor_parallel
    for heads in {spec.heads, spec.kv_heads, spec.global_kv_heads}:
        if heads % ranks and ranks % heads:
            raise UsageError(
                "tensor-parallel",
                ranks,
                f"a number that divides the heads of {spec.name} or a multiple of them: {heads}",
            )
    if spec.heads % ranks:
        raise UsageError("tensor-parallel", ranks, f"a number that divides the {spec.heads} query heads of {spec.name}")


def _check_pipeline(options: EngineOptions, spec: ModelSpec) -> None:
    """Each rank has a layer, and those that share keys have them of a layer of their own rank (vLLM `kv_sharing_utils.py`)."""
    ranks, layers = options.pipeline_parallel, spec.layers
    if ranks > len(layers):
        most = f"at most {len(layers)}, the layers of {spec.name}: each rank has one and more"
        raise UsageError("pipeline-parallel", ranks, most)
    rank_of = [rank for rank, size in enumerate(_partition(len(layers), ranks)) for _ in range(size)]
    first = len(layers) - spec.kv_shared_layers
    for layer in range(first, len(layers)):
        target = layers.rindex(layers[layer], 0, first)
        if rank_of[layer] != rank_of[target]:
            why = f"layer {layer} of {spec.name} has the keys of layer {target}, which another rank would have"
            raise UsageError("pipeline-parallel", ranks, f"1, or a number for which they share a rank: {why}")


def _partition(layers: int, ranks: int) -> list[int]:
    """How many layers each rank has: as `PARTITION` says, else what is over goes to the later ones, and to the last one last (vLLM
    `distributed/utils.py`, `get_pp_indices`).

    Raises:
        UsageError: the variable has no such partition.
    """
    if ranks > 1 and (said := os.environ.get(PARTITION)) is not None:
        parts = said.split(",")
        given = [int(part) if re.fullmatch(r" *[0-9]{1,4} *", part, re.ASCII) else 0 for part in parts]
        if 0 in given or len(given) != ranks or sum(given) != layers:
            raise UsageError(
                PARTITION, said, f"unset, or {ranks} numbers of layers with commas between them, {layers} in all"
            )
        return given
    sizes = [layers // ranks] * ranks
    for place in range(2, layers % ranks + 2):
        sizes[-place] += 1
    return sizes


def _check_block(options: EngineOptions, spec: ModelSpec, release: Release, platform: str) -> None:
    if options.block_size > spec.max_length:
        raise UsageError(
            "block-size",
            options.block_size,
            f"at most the {spec.max_length} tokens of the longest prompt of {spec.name}",
        )
    known = backend(options.backend)
    name = known.cpu_name if platform == "cpu" else known.vllm_name
    sizes = release.block_sizes(name)
    if sizes and not any(options.block_size % size == 0 for size in sizes):
        allowed = " or ".join(map(str, sorted(set(sizes))))
        raise UsageError(
            "block-size",
            options.block_size,
            f"a multiple of {allowed}, which the back end {options.backend} takes",
        )


def _check_poison(options: EngineOptions, scenario: Scenario) -> None:
    if scenario.poison and options.kv_dtype not in HAVE_NAN:
        kept = options.kv_dtype
        raise UsageError("poison", kept, f"a KV cache that is filled with NaN is {', '.join(HAVE_NAN)}")


def _check_adapter(scenario: Scenario, spec: ModelSpec) -> None:
    """An adapter has pairs of all seven projections of a layer, which other layers do not have."""
    others = {"experts": spec.moe, "keys that are values": spec.k_eq_v, "layers that share keys": spec.kv_shared_layers}
    has = [name for name, one in others.items() if one]
    if scenario.adapter != NOBODY and (has or spec.family != "gemma4"):
        what = f"{spec.name} has {has[0]}" if has else f"{spec.name} is of another family"
        raise UsageError("adapter", scenario.adapter, f"a Gemma 4 with layers of seven projections each: {what}")


def _check_drafts(options: EngineOptions, scenario: Scenario, spec: ModelSpec, release: Release, version: str) -> None:
    drafts, runner = scenario.speculate, options.runner
    if not drafts:
        return
    if options.mode != "eager":
        why = "where hooks are not called drafts that are thrown away cannot be told from those that are not"
        raise UsageError("speculate", drafts, f"with --mode eager: {why}")
    if runner == "auto":
        raise UsageError("speculate", drafts, "with --runner v1 or v2: not every runner drafts in every release")
    if scenario.draft == MTP and (spec.family != "gemma4" or spec.unified):
        raise UsageError("draft", MTP, f"with a Gemma 4 that has towers, whose drafter is written; {spec.name} is none")
    if not release.drafts(scenario.draft, runner):
        others = [f"--runner {one}" for one in ("v1", "v2") if release.drafts(scenario.draft, one)]
        others += [f"--draft {one}" for one in (NGRAM, MTP) if release.drafts(one, runner)]
        allowed = f"with {' or '.join(others)}" if others else "with a newer release"
        raise UsageError("draft", scenario.draft, f"{allowed}: vLLM {version} does not draft so on runner {runner}")


def _check_batch(scenario: Scenario, spec: ModelSpec, tokens: Sequence[int]) -> None:
    """Mates are served in the same batch only if all of them have a place and the KV cache holds them."""
    beside = (*scenario.mates, *scenario.mates_after)
    if len(beside) >= TOGETHER:
        raise UsageError(
            "mate", " | ".join(beside), f"at most {TOGETHER - 1} layouts, since {TOGETHER} requests are served together"
        )
    held = kv_tokens(spec)
    if sum(tokens) > held:
        raise UsageError("mate", " | ".join(beside), f"with the prompt {sum(tokens)} tokens; the KV cache holds {held}")
