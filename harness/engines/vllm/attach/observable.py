"""Which servers of several engines, or of engines in several parts, can be observed."""

from __future__ import annotations

from typing import Any


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
    return ""
