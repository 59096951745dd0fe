"""What is verified on a GPU: real head sizes, window and soft-token budgets, every back end that the release offers."""

from __future__ import annotations

import json
import subprocess
import sys

from harness.case import Case, Declared
from harness.drivers.process import ROOT
from harness.errors import EnvironmentFailure
from harness.setting import Setting

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

DECLARED = [
    Declared(
        policy="drop",
        link="https://github.com/vllm-project/vllm/pull/50539",
        reason="the V2 runner leaves an image longer than the window causal",
        backends=("TRITON_ATTN",),
        runners=("v2",),
        releases=">=0.25,<0.33",
        mended_by=("pr-50539",),
    ),
]

RIGHT = [
    Setting(backend="TRITON_ATTN", runner="v1", dtype="bfloat16"),
    Setting(backend="TRITON_ATTN", runner="v2", dtype="bfloat16", overlays=("pr-50539",)),
    Setting(backend="TRITON_ATTN", runner="v1", dtype="bfloat16", mode="compiled"),
]
"""Settings that are right, for generated layouts."""


def offered(python: str = sys.executable) -> list[dict]:
    """What `harness.drivers.serving.offers` says in this interpreter.

    Raises:
        EnvironmentFailure: vLLM could not be asked.
    """
    command = [python, "-m", "harness.drivers.serving.offers"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    if done.returncode:
        raise EnvironmentFailure(f"vLLM could not be asked for its back ends: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def settings(python: str = sys.executable) -> list[Setting]:
    """Every offered back end under both runners in bfloat16 eager; the first of them in float32 and compiled too."""
    names = [offer["backend"] for offer in offered(python) if not offer["reasons"]]
    every = [Setting(backend=name, runner=runner, dtype="bfloat16") for name in names for runner in ("v1", "v2")]
    first = names[:1]
    every += [Setting(backend=name, runner="v1", dtype="float32") for name in first]
    every += [Setting(backend=name, runner=runner, dtype="bfloat16", mode="compiled") for name in first for runner in ("v1", "v2")]
    return every


def entries(python: str = sys.executable) -> list[tuple[Case, Setting]]:
    return [(case, setting) for setting in settings(python) for case in CASES]
