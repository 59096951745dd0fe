"""Which servers of several engines, or of engines in several parts, can be observed."""

from __future__ import annotations

from typing import Any


def unobservable(config: Any) -> str:
    """Why a server with this `ParallelConfig` of vLLM cannot be observed; nothing where it can."""
    if config.data_parallel_size > 1:
        return (
            f"it has {config.data_parallel_size} data-parallel engines, of which vLLM lets a plugin ask the first alone; "
            "observe one that is started with --data-parallel-size 1"
        )
    if config.pipeline_parallel_size > 1:
        return (
            f"it has a pipeline of {config.pipeline_parallel_size}, whose ranks have some layers each; "
            "observe one with --tensor-parallel-size instead, or an engine of the harness's own with --pipeline-parallel"
        )
    if config.nnodes > 1:
        return f"its workers are on {config.nnodes} hosts, and what they write is fetched from one"
    return ""
