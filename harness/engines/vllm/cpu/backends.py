"""Serving through another attention back end than CPU_ATTN on a machine without a GPU.

vLLM's CPU platform answers CPU_ATTN whatever is asked, so the name is given another class.
"""

from __future__ import annotations

import os
from functools import cache

from harness.engines.vllm.attention_backends import ATTENTION_BACKENDS
from harness.engines.vllm.cpu import mends
from harness.engines.vllm.options import CPU_BACKEND


@cache
def register() -> None:
    """Let CPU_ATTN resolve, in this process, to the back end that `CPU_BACKEND` names, if it names one."""
    backend = os.environ.get(CPU_BACKEND)
    if backend is None:
        return
    from harness.engines.vllm import releases

    mends.mend(releases.version())
    path = ATTENTION_BACKENDS[backend].cpu_class
    if not path:
        return
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend

    register_backend(AttentionBackendEnum.CPU_ATTN, path)
