"""Whether a release takes the engine arguments that are given beside those that the harness sets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from harness.engines.adapter import Asked
from harness.engines.vllm.arguments import (
    ADAPTERS,
    COMPILED,
    FAST_PREFILL,
    FIELD,
    GENERATION,
    GENERATION_OF,
    IMPLEMENTATION,
    LARGEST_CACHE,
    MAY_BE_GIVEN,
    MODALITIES,
    MOST_SEATS,
    OBSERVED,
    check_generation,
    value,
)
from harness.engines.vllm.options import EngineOptions, kv_tokens
from harness.engines.vllm.release import UNSPLIT, Release
from harness.errors import UsageError
from harness.families.beside import check_suppressed
from harness.families.limits import LONGEST, PICTURES
from harness.families.registry import family_of
from harness.prompts.model_spec import ModelSpec
from harness.prompts.scenario import Scenario


def check(asked: Asked, release: Release, version: str) -> None:
    """Find what the engine would not start with or could not serve the prompts of a request with.

    Raises:
        UsageError: an argument is unknown to the release, not one of `MAY_BE_GIVEN`, or has a value that it does not take.
        EnvironmentFailure: the release's source has no engine arguments where they are looked for.
    """
    options: EngineOptions = asked.options
    if not options.arguments:
        return
    values: dict[str, Any] = {}
    for name, text in options.arguments:
        given = f"{name}={text}"
        argument = release.arguments.get(name)
        if argument is None:
            near = get_close_matches(name, [each for each in MAY_BE_GIVEN if each in release.arguments], 1, 0.7)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(FIELD, given, f"vLLM {version} has no such argument{hint}")
        if ADAPTERS in name:
            raise UsageError(
                FIELD, given, "an adapter changes what is to be computed; --adapter draws one, for both sides"
            )
        if name not in MAY_BE_GIVEN:
            known = ", ".join(each for each in MAY_BE_GIVEN if each in release.arguments)
            why = f"the reference is not told of {name}, so a difference that it makes would be blamed on vLLM"
            raise UsageError(FIELD, given, f"{why}; what schedules or executes requests may be given: {known}")
        if name in COMPILED and options.mode == "eager":
            raise UsageError(FIELD, given, f"{name} means something with --mode compiled, and the mode is eager")
        values[name] = value(text)
        if not argument.admits(values[name]):
            raise UsageError(FIELD, given, f"vLLM {version} takes {argument.allowed}")
        if name == "limit_mm_per_prompt" and not _are_limits(values[name]):
            raise UsageError(FIELD, given, f"how many of {', '.join(MODALITIES)}, each 0 to {PICTURES}")
        if name == "mm_encoder_attn_backend" and str(values[name] or "TORCH_SDPA").upper() not in release.backends:
            raise UsageError(FIELD, given, f"one of vLLM's back ends: {', '.join(release.backends)}")
        if name == "mm_processor_cache_gb" and values[name] > LARGEST_CACHE:
            raise UsageError(FIELD, given, f"GiB of memory, at most {LARGEST_CACHE}")
        if name == "attention_config" and any(key.startswith("backend") for key in values[name] or {}):
            raise UsageError(FIELD, given, "the harness sets its backend; use --backend")
        if name == IMPLEMENTATION and values[name] not in OBSERVED:
            why = "in that of transformers layers and weights have other names than the harness observes them by"
            raise UsageError(FIELD, given, f"{' or '.join(OBSERVED)}: {why} (docs/findings/vllm-model-impl.md)")
        if name == FAST_PREFILL and values[name] and not asked.spec.kv_shared_layers:
            raise UsageError(
                FIELD, given, f"a model with layers that share keys, which {asked.spec.name} does not have"
            )
        if name == GENERATION:
            check_generation(values[name])
            if values[name] not in GENERATION_OF:
                check_suppressed(FIELD, given, values[name], asked.spec.vocab)
    _check_items(values.get("limit_mm_per_prompt") or {}, asked.items)
    tokens = max((*asked.tokens, *asked.before), default=1)
    _check_capacity(values, options, asked.scenario, asked.spec, tokens)


def check_step(options: EngineOptions, scenario: Scenario, spec: ModelSpec, release: Release, platform: str) -> None:
    """Where images are not split over steps, a step holds the largest item that a prompt may have (vLLM
    `encoder_cache_manager.py`, `compute_mm_encoder_budget`).

    Raises:
        UsageError: it is smaller.
    """
    engine = options.engine_arguments(spec, scenario, platform)
    unsplit = engine.get(UNSPLIT) is True or (spec.bidirectional == "vision" and not release.splits(platform))
    step, limits = engine["max_num_batched_tokens"], engine["limit_mm_per_prompt"]
    sizes = {name: most for name, most in family_of(spec).largest(spec).items() if limits.get(name, 1)}
    if unsplit and (large := {name: most for name, most in sizes.items() if most > step}):
        items = " and ".join(f"{most} of {name}" for name, most in sorted(large.items(), key=lambda each: each[1]))
        raise UsageError(
            "chunk",
            step,
            f"{max(large.values())} and more: no item is split over steps here, and {spec.name} takes {items}; "
            f"what a prompt does not have can be left out, --serving-arg 'limit_mm_per_prompt={{\"video\": 0}}'",
        )


def _are_limits(values: dict) -> bool:
    return all(name in MODALITIES and type(most) is int and 0 <= most <= PICTURES for name, most in values.items())


def _check_items(limits: Mapping[str, int], items: Mapping[str, int]) -> None:
    for name, most in items.items():
        if name in limits and limits[name] < most:
            given = f"limit_mm_per_prompt={json.dumps(limits)}"
            raise UsageError(FIELD, given, f"at least the {most} of {name} that a prompt here has")


def _check_capacity(values: dict, options: EngineOptions, scenario: Scenario, spec: ModelSpec, tokens: int) -> None:
    """The engine's own consistency: it finds these when it has loaded everything else. Where the checkpoint takes `LONGEST`
    tokens and more, a prompt may be as long as the KV cache that it is served with."""
    length = values.get("max_model_len", spec.max_length)
    most = spec.max_length if spec.max_length < LONGEST else kv_tokens(spec)
    if not tokens < length <= most:
        raise UsageError(
            FIELD,
            f"max_model_len={length}",
            f"{tokens + 1} to {most} tokens: the longest prompt and one more, up to the model's",
        )
    own = len(spec.layers) - spec.kv_shared_layers
    blocks, size = values.get("num_gpu_blocks_override"), options.block_size
    least = own * (math.ceil(length / size) + 1) + 1
    if blocks is not None and blocks < least:
        raise UsageError(
            FIELD,
            f"num_gpu_blocks_override={blocks}",
            f"{least} and more: one request of the {length} tokens of max_model_len, in blocks of {size}, in {own} layers",
        )
    step = options.engine_arguments(spec, scenario, "cpu")["max_num_batched_tokens"]
    seats = values.get("max_num_seqs") or 1
    if seats > min(step, MOST_SEATS):
        raise UsageError(
            FIELD,
            f"max_num_seqs={seats}",
            f"1 to {min(step, MOST_SEATS)}: a step of {step} tokens has one for each sequence",
        )
    if values.get("enable_chunked_prefill") is False and step < length:
        raise UsageError(
            FIELD, "enable_chunked_prefill=false", f"needs --chunk of at least the {length} tokens of max_model_len"
        )
    threshold = values.get("long_prefill_token_threshold", 0)
    if threshold > length:
        raise UsageError(
            FIELD, f"long_prefill_token_threshold={threshold}", f"0 to {length}, the tokens of max_model_len"
        )
