"""Serving through another attention back end than CPU_ATTN on a machine without a GPU.

vLLM's CPU platform answers CPU_ATTN whatever is asked, so the name is given another class.
"""

from __future__ import annotations

CPU_BACKENDS = {
    "triton": "vllm.v1.attention.backends.triton_attn.TritonAttentionBackend",
    "flex": "vllm.v1.attention.backends.flex_attention.FlexAttentionBackend",
    "cpu": None,
}


def host(backend: str) -> None:
    """Let CPU_ATTN resolve to ``backend`` in this process and, through the environment, in its workers."""
    path = CPU_BACKENDS[backend]
    if path is None:
        return
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend

    register_backend(AttentionBackendEnum.CPU_ATTN, path)
