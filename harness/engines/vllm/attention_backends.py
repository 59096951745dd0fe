"""Attention back ends, one row each: what the harness, vLLM and each platform know of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import UsageError

PLATFORMS = ("cpu", "cuda")
_ENUM_NAME = re.compile(r"[A-Z][A-Z0-9_]+\Z")


@dataclass(frozen=True)
class AttentionBackend:
    """``name`` is the harness's, ``vllm_name`` vLLM's own. ``implementation`` is what it serves by, as
    `releases.implementation` names it, where that is known. ``platforms`` (cpu, cuda) can be asked for it; on a CPU the name
    CPU_ATTN is made to resolve to ``cpu_class``, where there is one, since vLLM's CPU platform answers CPU_ATTN whatever is
    asked; ``cpu_name`` is vLLM's own name of what then serves. ``cpu_dtypes``, ``cpu_modes`` and ``cpu_kv_dtypes`` are
    those in which it is right there.
    """

    name: str
    vllm_name: str
    implementation: str = ""
    platforms: tuple[str, ...] = PLATFORMS
    cpu_class: str = ""
    cpu_name: str = ""
    cpu_dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    cpu_modes: tuple[str, ...] = ("eager",)
    cpu_kv_dtypes: tuple[str, ...] = ("auto",)


ATTENTION_BACKENDS = {
    backend.name: backend
    for backend in (
        AttentionBackend(
            "triton", "TRITON_ATTN", "TritonAttentionImpl",
            cpu_class="vllm.v1.attention.backends.triton_attn.TritonAttentionBackend", cpu_name="TRITON_ATTN",
            cpu_dtypes=("float32", "float16"),  # Triton's interpreter multiplies bfloat16 wrongly
            cpu_kv_dtypes=("auto", "float16", "int8_per_token_head", "int4_per_token_head"),
        ),
        AttentionBackend(
            "cpu", "cpu", "CPUAttentionBackendImpl", ("cpu",), cpu_name="CPU_ATTN", cpu_modes=("eager", "compiled"),
            cpu_kv_dtypes=("auto", "fp8", "fp8_e4m3", "fp8_e5m2"),
        ),
        AttentionBackend(
            "flex", "FLEX_ATTENTION", "FlexAttentionImpl",
            cpu_class="vllm.v1.attention.backends.flex_attention.FlexAttentionBackend", cpu_name="FLEX_ATTENTION",
        ),
        AttentionBackend("flash", "FLASH_ATTN", "FlashAttentionImpl", ("cuda",)),
        AttentionBackend(
            "TRITON_FLASH_ATTN", "TRITON_FLASH_ATTN", "CompositeAttentionImpl(TritonAttentionImpl, FlashAttentionImpl)", ("cuda",)
        ),
        AttentionBackend(
            "TRITON_FLASHINFER", "TRITON_FLASHINFER", "CompositeAttentionImpl(TritonAttentionImpl, FlashInferImpl)", ("cuda",)
        ),
        AttentionBackend("auto", "auto", platforms=("cuda",)),
    )
}  # fmt: skip


def on(platform: str) -> tuple[str, ...]:
    """The names of the back ends that ``platform`` can be asked for."""
    return tuple(name for name, backend in ATTENTION_BACKENDS.items() if platform in backend.platforms)


def backend(name: str) -> AttentionBackend:
    """The back end of this name, the harness's or vLLM's own.

    Raises:
        UsageError: it is neither the harness's nor like one of vLLM's.
    """
    found = _known(name)
    if found is None and not _ENUM_NAME.match(name):
        names = ", ".join(sorted(ATTENTION_BACKENDS))
        raise UsageError("backend", name, f"one of {names}, or a name of vLLM's such as TRITON_ATTN")
    return found or AttentionBackend(name, name, platforms=("cuda",))


def vllm_name(name: str) -> str:
    """A back end by vLLM's own name; what is not known is taken for one."""
    found = _known(name)
    return found.vllm_name if found else name


def _known(name: str) -> AttentionBackend | None:
    return ATTENTION_BACKENDS.get(name) or next(
        (b for b in ATTENTION_BACKENDS.values() if name in (b.vllm_name, b.cpu_name)), None
    )


def serving_with(implementations: list[str]) -> AttentionBackend | None:
    """The back end whose class is the only one among an engine's ``implementations``, if they tell."""
    return next((b for b in ATTENTION_BACKENDS.values() if implementations == [b.implementation]), None)
