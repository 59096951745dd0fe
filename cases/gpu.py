"""What is verified on a GPU: real head sizes, window and soft-token budgets, every back end that the release offers."""

from __future__ import annotations

import sys

from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.engines.vllm.offered import offered
from harness.prompts.case import Case
from harness.verification.interpreters import inspect

MODEL = "31b-shape"
CASES = [
    Case(name, title, layout, model=MODEL)
    for name, title, layout in (
        ("gpu-text", "text", "t64"),
        ("gpu-text-longer-than-window", "text longer than the window", "t1300"),
        ("gpu-5", "an image of 5", "t8 i5 t8"),
        ("gpu-256", "an image of 256", "t16 i256 t16"),
        ("gpu-280", "an image of 280, the default budget", "t16 i280 t16"),
        ("gpu-1024", "an image of exactly the window", "t16 i1024 t16"),
        ("gpu-1025", "an image one token longer than the window", "t16 i1025 t16"),
        ("gpu-1092", "an image of 1,092", "t16 i1092 t16"),
        ("gpu-1120", "an image of 1,120, the largest budget", "t16 i1120 t16"),
        ("gpu-several", "four images, one longer than the window", "t40 i280 t60 i1120 t30 i70 t300 i280 t20"),
        ("gpu-far-apart", "images further apart than the window", "t16 i280 t1100 i280 t16"),
    )
]

DROP = Declared(
    family="gemma4",
    policy="drop",
    link="https://github.com/vllm-project/vllm/pull/50539",
    reason="the V2 runner leaves an image longer than the window causal",
    backends=("TRITON_ATTN", "FLASH_ATTN"),
    runners=("v2",),
    releases=">=0.25,<0.33",
    mended_by=("pr-50539",),
)
FULL_GRAPHS = ("compilation_config", '{"cudagraph_mode": "FULL"}')
"""The engine argument by which every step that is small enough is a full CUDA graph, prefill too."""
DECLARED = [
    DROP,
    Declared(
        family="gemma4",
        policy="causal",
        unobserved=True,
        link="https://github.com/vllm-project/vllm/pull/40534",
        reason="a full CUDA graph is captured without image ranges, and replayed for prompts that have some "
        "(docs/findings/vllm-full-graph-without-ranges.md)",
        backends=("TRITON_ATTN",),
        runners=("v1", "v2"),
        releases=">=0.25,<0.33",
        settings=(("arguments", (FULL_GRAPHS,)),),
    ),
    Declared(
        family="gemma4",
        policy="causal-blocks",
        link="https://github.com/vllm-project/vllm/pull/27938",
        reason="FlexAttention leaves out later KV blocks that image ranges let through",
        backends=("FLEX_ATTENTION",),
        runners=("v1",),
        releases=">=0.25,<0.33",
        mended_by=("flex-image-blocks",),
    ),
    Declared(
        family="gemma4",
        policy="causal-blocks-drop",
        link="https://github.com/vllm-project/vllm/pull/27938",
        reason="FlexAttention leaves out later KV blocks that image ranges let through; the V2 runner drops long images",
        backends=("FLEX_ATTENTION",),
        runners=("v2",),
        releases=">=0.25,<0.33",
        mended_by=("flex-image-blocks",),
    ),
    Declared(
        family="gemma4",
        policy="unclamped",
        link="https://github.com/vllm-project/vllm/pull/50539",
        reason="FlexAttention does not clamp image ranges to the window",
        backends=("FLEX_ATTENTION",),
        runners=("v1",),
        releases=">=0.25,<0.33",
    ),
    Declared(
        precision="tf32",
        link="https://github.com/vllm-project/vllm/pull/18014",
        reason="the Triton kernel multiplies float32 in TF32, Triton's default (docs/findings/vllm-triton-float32-is-tf32.md)",
        backends=("TRITON_ATTN",),
        dtypes=("float32",),
        releases=">=0.25,<0.33",
    ),
    Declared(
        failure="Hard failure due to fullgraph=True",
        link="https://github.com/vllm-project/vllm/issues/27178",
        reason="FlexAttention is compiled anew for other image ranges, until torch.compile gives up",
        backends=("FLEX_ATTENTION",),
        releases=">=0.25,<0.33",
    ),
    Declared(
        failure="out of resource: triton_tem_fused_flex_attention",
        link="https://github.com/pytorch/pytorch/issues/133254",
        reason="FlexAttention in float32 needs more shared memory than a Hopper GPU has, for heads of 512",
        backends=("FLEX_ATTENTION",),
        dtypes=("float32",),
        releases=">=0.25,<0.33",
    ),
]

V1 = Setting.of(runner="v1", dtype="bfloat16")
V2 = Setting.of(runner="v2", dtype="bfloat16")
FULL = V1.with_(backend="TRITON_ATTN", mode="compiled", arguments=(FULL_GRAPHS,))
IN_FULL_GRAPHS = ("gpu-text", "gpu-5", "gpu-256")
"""Cases of `FULL`: the last one is longer than the largest graph that is captured, so that its masks are observed."""
ASYNCHRONOUS = [
    setting.with_(backend="TRITON_ATTN", decode=4, mates=("t40",), arguments=(("async_scheduling", "true"),))
    for setting in (V1, V2)
]
"""The next step is scheduled before the tokens of this one are known: a decoded token is read where the sampler left it."""
SCHEDULED_AHEAD = ("gpu-280",)


def wanted(markers: str | None) -> bool:
    """These cases are asked for (`pytest -m`) and there is a GPU."""
    return "gpu" in (markers or "").replace("not gpu", "") and bool(inspect(sys.executable)["gpus"])


def backends(dtype: str, python: str = sys.executable) -> list[str]:
    """The back ends that the release offers for the model in ``dtype``, the one that it prefers first."""
    return [offer["backend"] for offer in offered(MODEL, python)[dtype] if not offer["reasons"]]


def settings(python: str = sys.executable) -> list[Setting]:
    """Every back end that is offered: in bfloat16 under both runners, eager and compiled with CUDA graphs, and in float32."""
    every = [
        setting.with_(backend=name, mode=mode)
        for mode in ("eager", "compiled")
        for name in backends("bfloat16", python)
        for setting in (V1, V2)
    ]
    return every + [V1.with_(backend=name, dtype="float32") for name in backends("float32", python)]


def right(python: str = sys.executable) -> list[Setting]:
    """Settings that are right, for generated layouts: every back end, with what mends it. FlexAttention is left out: its
    engine ends after a number of different image ranges (docs/findings/vllm-flex-attention-limits.md)."""
    names = [name for name in backends("bfloat16", python) if name != "FLEX_ATTENTION"]
    return [setting.with_(backend=name) for name in names for setting in (V1, V2.with_(overlays=("pr-50539",)))]


def entries(python: str = sys.executable) -> list[tuple[Case, Setting]]:
    every = [(case, setting) for setting in settings(python) for case in CASES]
    every += [(case, setting) for setting in ASYNCHRONOUS for case in CASES if case.name in SCHEDULED_AHEAD]
    return every + [(case, FULL) for case in CASES if case.name in IN_FULL_GRAPHS]
