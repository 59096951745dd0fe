"""Serving through another attention back end than CPU_ATTN on a machine without a GPU.

vLLM's CPU platform answers CPU_ATTN whatever is asked, so the name is given another class.
"""

from __future__ import annotations

import os
from functools import cache

from harness.drivers.hosting import mends

HOSTED = "HARNESS_CPU_BACKEND"
"""The environment variable by which the engine's process and its workers know the back end; it is set on a CPU."""
CPU_BACKENDS = {
    "triton": "vllm.v1.attention.backends.triton_attn.TritonAttentionBackend",
    "flex": "vllm.v1.attention.backends.flex_attention.FlexAttentionBackend",
    "cpu": None,
}


@cache
def host() -> None:
    """Let CPU_ATTN resolve, in this process, to the back end that `HOSTED` names, if it names one."""
    backend = os.environ.get(HOSTED)
    if backend is None:
        return
    from harness.drivers.serving import releases

    mends.mend(releases.version())
    path = CPU_BACKENDS[backend]
    if path is None:
        return
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend

    register_backend(AttentionBackendEnum.CPU_ATTN, path)
