"""Serving through another attention back end than CPU_ATTN on a machine without a GPU.

vLLM's CPU platform answers CPU_ATTN whatever is asked, so the name is given another class.
"""

from __future__ import annotations

import os
from functools import cache

from harness.engines.vllm.attention_backends import ATTENTION_BACKENDS
from harness.engines.vllm.options import CPU_BACKEND


@cache
def host() -> None:
    """Let CPU_ATTN resolve, in this process, to the back end that `CPU_BACKEND` names, if it names one."""
    backend = os.environ.get(CPU_BACKEND)
    if backend is None:
        return
    _contiguous_inputs()
    path = ATTENTION_BACKENDS[backend].cpu_class
    if not path:
        return
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend

    register_backend(AttentionBackendEnum.CPU_ATTN, path)


def _contiguous_inputs() -> None:
    """oneDNN's matrix product refuses the transposed input that Gemma 4's audio tower gives it
    (docs/findings/transformers-audio-eager-mask.md); a contiguous copy has the same values."""
    from vllm import _custom_ops

    if not hasattr(_custom_ops, "onednn_mm"):
        return
    original = _custom_ops.onednn_mm

    def onednn_mm(handler, x, bias):
        return original(handler, x.contiguous(), bias)

    _custom_ops.onednn_mm = onednn_mm
