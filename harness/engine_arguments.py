"""Which engine arguments may be given beside those that the harness sets, and what their values must be.

The reference is told of nothing that is given here. So what may be given is what schedules, stores and executes requests
and does not change what is to be computed: of anything else a difference would be blamed on vLLM.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches

from harness.checkpoint import pictures
from harness.checkpoint.given import LONGEST
from harness.checkpoint.spec import ModelSpec
from harness.errors import UsageError
from harness.release import Release
from harness.setting import Setting

FIELD = "serving-arg"
OPTIONS = {
    "model": "--model",
    "model_weights": "--model",
    "dtype": "--dtype",
    "kv_cache_dtype": "--kv-dtype",
    "enforce_eager": "--mode",
    "enable_prefix_caching": "--prefix-caching",
    "block_size": "--block-size",
    "max_num_batched_tokens": "--chunk",
    "tensor_parallel_size": "--tensor-parallel",
    "attention_backend": "--backend",
}
"""Arguments that the harness sets from an option of its own."""
OWN = (
    "skip_mm_profiling",
    "num_gpu_blocks_override",
    "kv_cache_memory_bytes",
    "gpu_memory_utilization",
    "seed",
    "disable_log_stats",
    "worker_extension_cls",
    "trust_remote_code",
    "load_format",
)
"""Arguments that the harness sets and nobody else."""
SCHEDULED = (
    "max_model_len",
    "max_num_seqs",
    "enable_chunked_prefill",
    "long_prefill_token_threshold",
    "long_prefill_token_threshold_adaptive",
    "max_num_partial_prefills",
    "max_long_partial_prefills",
    "prefill_schedule_interval",
    "scheduler_reserve_full_isl",
    "disable_chunked_mm_input",
    "scheduling_policy",
    "disable_hybrid_kv_cache_manager",
    "prefix_caching_hash_algo",
    "mm_processor_cache_gb",
    "limit_mm_per_prompt",
)
EXECUTED = (
    "attention_config",
    "disable_cascade_attn",
    "disable_custom_all_reduce",
    "all2all_backend",
    "enable_expert_parallel",
    "moe_backend",
    "linear_backend",
    "kernel_config",
    "mm_encoder_attn_backend",
    "mm_encoder_tp_mode",
)
COMPILED = ("compilation_config", "cudagraph_capture_sizes", "max_cudagraph_capture_size", "optimization_level")
"""Arguments that mean something where the engine compiles."""
MODALITIES = ("image", "video", "audio")
MAY_BE_GIVEN = (*SCHEDULED, *EXECUTED, *COMPILED)
MOST_SEATS = 1024
"""Sequences for which vLLM keeps buffers; the harness serves at most 64 requests at a time."""


def split(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(name, value) of each NAME=VALUE.

    Raises:
        UsageError: it is none, a name comes twice, or is one that the harness sets itself.
    """
    arguments: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value or not name.isidentifier():
            raise UsageError(FIELD, text, "NAME=VALUE with the name of an argument of vllm.LLM, as in Python, and a value")
        if name in arguments:
            raise UsageError(FIELD, text, f"{name} is given twice; give it once")
        if name in OPTIONS:
            raise UsageError(FIELD, text, f"the harness sets {name}; use {OPTIONS[name]}")
        if name in OWN:
            raise UsageError(FIELD, text, f"the harness sets {name} itself, and there is no option for it")
        arguments[name] = value
    return tuple(arguments.items())


def check(setting: Setting, spec: ModelSpec, release: Release, version: str, tokens: int) -> None:
    """Find what the engine would not start with or could not serve a prompt of ``tokens`` with.

    Raises:
        UsageError: an argument is unknown to the release, not one of `MAY_BE_GIVEN`, or has a value that it does not take.
        EnvironmentFailure: the release's source has no engine arguments where they are looked for.
    """
    if not setting.arguments:
        return
    values = {}
    for name, text in setting.arguments:
        given = f"{name}={text}"
        argument = release.arguments.get(name)
        if argument is None:
            near = get_close_matches(name, [each for each in MAY_BE_GIVEN if each in release.arguments], 1, 0.7)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(FIELD, given, f"vLLM {version} has no such argument{hint}")
        if name not in MAY_BE_GIVEN:
            known = ", ".join(each for each in MAY_BE_GIVEN if each in release.arguments)
            why = f"the reference is not told of {name}, so a difference that it makes would be blamed on vLLM"
            raise UsageError(FIELD, given, f"{why}; what schedules or executes requests may be given: {known}")
        if name in COMPILED and setting.mode == "eager":
            raise UsageError(FIELD, given, f"{name} means something with --mode compiled, and the mode is eager")
        values[name] = _value(text)
        if not argument.admits(values[name]):
            raise UsageError(FIELD, given, f"vLLM {version} takes {argument.allowed}")
        if name == "limit_mm_per_prompt" and not _are_limits(values[name]):
            raise UsageError(FIELD, given, f"how many of {', '.join(MODALITIES)}, each 0 to {pictures.MOST}")
        if name == "attention_config" and "backend" in values[name]:
            raise UsageError(FIELD, given, "the harness sets its backend; use --backend")
    _check_capacity(values, setting, spec, tokens)


def _value(text: str) -> object:
    """As `Setting.engine_arguments` reads it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _are_limits(values: dict) -> bool:
    return all(name in MODALITIES and type(most) is int and 0 <= most <= pictures.MOST for name, most in values.items())


def _check_capacity(values: dict, setting: Setting, spec: ModelSpec, tokens: int) -> None:
    """The engine's own consistency: it finds these when it has loaded everything else. Where the checkpoint takes `LONGEST`
    tokens and more, the KV cache that it is served with holds 16 times as many."""
    length = values.get("max_model_len", spec.max_length)
    most = spec.max_length if spec.max_length < LONGEST else 16 * LONGEST
    if not tokens < length <= most:
        raise UsageError(FIELD, f"max_model_len={length}", f"{tokens + 1} to {most} tokens: the longest prompt and one more, up to the model's")
    step = setting.engine_arguments(spec, "cpu")["max_num_batched_tokens"]
    seats = values.get("max_num_seqs", 1)
    if seats > min(step, MOST_SEATS):
        raise UsageError(FIELD, f"max_num_seqs={seats}", f"1 to {min(step, MOST_SEATS)}: a step of {step} tokens has one for each sequence")
    if values.get("enable_chunked_prefill") is False and step < length:
        raise UsageError(FIELD, "enable_chunked_prefill=false", f"needs --chunk of at least the {length} tokens of max_model_len")
    threshold = values.get("long_prefill_token_threshold", 0)
    if threshold > length:
        raise UsageError(FIELD, f"long_prefill_token_threshold={threshold}", f"0 to {length}, the tokens of max_model_len")

