"""Which engine arguments may be given beside those that the harness sets, and what their values must be.

The reference is told of nothing that is given here. So what may be given is what schedules, stores and executes requests
and does not change what is to be computed: of anything else a difference would be blamed on vLLM. What is done to logits
after the model may be given too, since a difference there has a sentence of its own (`harness.compare.head`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError

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
    "pipeline_parallel_size": "--pipeline-parallel",
    "attention_backend": "--backend",
    "enable_lora": "--adapter, which draws one",
    "speculative_config": "--speculate and --draft",
}
"""Arguments that the harness sets from an option of its own."""
OWN = (
    "trust_remote_code",
    "load_format",
    "skip_mm_profiling",
    "kv_cache_memory_bytes",
    "gpu_memory_utilization",
    "seed",
    "disable_log_stats",
    "max_logprobs",
    "worker_extension_cls",
)
"""Arguments that the harness sets and nobody else."""
ASYNCHRONOUS = "async_scheduling"
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
    "num_gpu_blocks_override",
    ASYNCHRONOUS,
)
FAST_PREFILL = "kv_sharing_fast_prefill"
EXECUTED = (
    FAST_PREFILL,
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
    "model_impl",
)
COMPILED = ("compilation_config", "cudagraph_capture_sizes", "max_cudagraph_capture_size", "optimization_level")
"""Arguments that mean something where the engine compiles."""
GENERATION = "generation_config"
"""What is done to logits after the model: `GENERATION_OF` or a folder."""
GENERATION_OF = ("auto", "vllm")
GENERATION_FILE = "generation_config.json"
IMPLEMENTATION = "model_impl"
OBSERVED = ("auto", "vllm")
"""Implementations of a model whose layers and weights have the names by which the harness finds them."""
MODALITIES = ("image", "video", "audio")
ADAPTERS = "lora"
"""What the names of arguments have in them that serve adapters of one's own, of which the reference is not told."""
MAY_BE_GIVEN = (*SCHEDULED, *EXECUTED, *COMPILED, GENERATION)
MOST_SEATS = 1024
"""Sequences for which vLLM keeps buffers; the harness serves at most 64 requests at a time."""

LARGEST_CACHE = 1024
"""GiB of `mm_processor_cache_gb`: more than a host of serving has, and bytes that can still be counted."""


def read(text: str) -> tuple[str, str]:
    """(name, value) of NAME=VALUE, a folder as an absolute path; raises UsageError if it is none."""
    name, equals, value = text.partition("=")
    if not equals or not value or not name.isidentifier():
        raise UsageError(FIELD, text, "NAME=VALUE with the name of an argument of vllm.LLM, as in Python, and a value")
    if name == GENERATION and value not in GENERATION_OF and Path(value).is_dir():
        return name, str(Path(value).absolute())
    return name, value


def check_own(arguments: Sequence[tuple[str, str]]) -> None:
    """Raise UsageError where a name comes twice, or is one that the harness sets itself."""
    names = [name for name, _ in arguments]
    for place, (name, value) in enumerate(arguments):
        text = f"{name}={value}"
        if name in names[:place]:
            raise UsageError(FIELD, text, f"{name} is given twice; give it once")
        if name in OPTIONS:
            raise UsageError(FIELD, text, f"the harness sets {name}; use {OPTIONS[name]}")
        if name in OWN:
            raise UsageError(FIELD, text, f"the harness sets {name} itself, and there is no option for it")


def value(text: str) -> object:
    """A value as `vllm.LLM` is given it: JSON, and text where it is none.

    Raises:
        UsageError: an object of JSON has a name twice, of which each reader takes another one.
    """

    def named(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(FIELD, text, f"it has {name} {names.count(name)} times; once")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=named)
    except UsageError:
        raise
    except (ValueError, RecursionError):
        return text


def check_generation(where: str) -> None:
    """Raise UsageError where vLLM would take no `GENERATION_FILE` from here, or one that it cannot read."""
    if where in GENERATION_OF:
        return
    given = f"{GENERATION}={where}"
    path = Path(where) / GENERATION_FILE
    if not path.is_file():
        raise UsageError(FIELD, given, f"{', '.join(GENERATION_OF)}, or a folder with a {GENERATION_FILE}")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(FIELD, given, f"its {GENERATION_FILE} cannot be read: {error}") from None
    if not isinstance(read, dict):
        raise UsageError(FIELD, given, f"its {GENERATION_FILE} has to hold an object of settings")
