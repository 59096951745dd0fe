"""Which servers can be observed: of several engines, of engines in several parts, and of what they compute."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

PARTS = {
    "--enable-dbo or --ubatch-size": "use_ubatching",
    "--prefill-context-parallel-size": "prefill_context_parallel_size",
    "--decode-context-parallel-size": "decode_context_parallel_size",
}
"""Options of a server and what they are in its `ParallelConfig`."""


def of_another_model(config: Any) -> str:
    """By what of this `ModelConfig` of vLLM a server computes something else than its checkpoint says; nothing where it does not.
    The reference is told of none of it, and what differs would be blamed on vLLM."""
    apart = {"--quantization": config.quantization, "--hf-overrides": config.hf_overrides}
    said = " and ".join(f"{name} {value}" for name, value in apart.items() if value)
    return said and f"it has {said}, of which the reference is not told: what differs by that would be blamed on vLLM"


def of_other_messages(args: Namespace, config: Any) -> str:
    """By which options of a server, of these ``args`` and this `MultiModalConfig` of vLLM, messages become other tokens than the
    checkpoint's own template and processors make of them; nothing where they do not."""
    apart = {
        "--chat-template": args.chat_template,
        "--default-chat-template-kwargs": getattr(args, "default_chat_template_kwargs", None),
        "--mm-processor-kwargs": getattr(config, "mm_processor_kwargs", None),
        "--media-io-kwargs": getattr(config, "media_io_kwargs", None),
    }
    return " and ".join(f"{name} {value}" for name, value in apart.items() if value)


def unobservable(config: Any) -> str:
    """Why a server with this `ParallelConfig` of vLLM cannot be observed; nothing where it can."""
    elsewhere = 0 if config.local_engines_only else config.data_parallel_size - config.data_parallel_size_local
    if elsewhere:
        return (
            f"{elsewhere} of its {config.data_parallel_size} data-parallel engines are on other hosts, and what they write is "
            "fetched from one; observe a host that is started with --data-parallel-hybrid-lb or --data-parallel-external-lb"
        )
    if config.nnodes > 1:
        return f"its workers are on {config.nnodes} hosts, and what they write is fetched from one"
    for option, field in PARTS.items():
        value = getattr(config, field, None) or 0
        if value > 1 or value is True:
            return f"it has {option}: a step's rows, or a request's keys, are in parts, each of which would be taken for the whole"
    return ""
