"""The declared cases: layouts that an engineer of Gemma 4 or Gemma 3 would pick, the settings, and the known divergences.

The window of the preset `tiny` is 8 tokens. `make report` and `pytest cases` both read this module.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from cases import gemma3, gpu
from cases.of_model import cases_of
from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.engines.vllm.release import release_of
from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec
from harness.prompts.scenario import NGRAM

ON_CPU = [
    Case("no-image", "text only, longer than the window", "t24"),
    Case("short-image", "one image shorter than the window", "t3 i5 t4"),
    Case("image-window-minus-one", "one image of window - 1 tokens", "t3 i7 t4"),
    Case("image-equals-window", "one image of exactly the window", "t3 i8 t4"),
    Case("image-window-plus-one", "one image one token longer than the window", "t3 i9 t4"),
    Case("image-twice-window", "one image of twice the window", "t3 i16 t4"),
    Case("image-far-longer", "one image far longer than the window", "t3 i40 t4"),
    Case("two-images", "a short and a long image", "t3 i5 t4 i12 t3"),
    Case("three-images", "three images around the window's length", "t2 i7 t3 i8 t2 i9 t3"),
    Case("image-first", "an image at the very start", "i6 t9"),
    Case("bare-image-first", "soft tokens from position 0 on, without boi and eoi", "I6 t9"),
    Case("image-last", "an image at the very end", "t9 i6"),
    Case("one-soft-token", "an image of a single soft token", "t4 i1 t4"),
    Case("back-to-back", "images with nothing but boi and eoi between them", "t2 i5 i5 i9 t2"),
    Case("far-apart", "a text run longer than the window between images", "t2 i6 t12 i6 t2"),
    Case("video", "a video of three frames", "t3 v3x5 t4"),
    Case("video-and-image", "a video and a long image", "t2 v2x4 t3 i10 t2"),
    Case("picture", "a real picture through both processors", picture=(48, 16)),
    Case("audio", "a sound before a long image", "t2 a14 t3 i10 t2", model="tiny-audio"),
    Case("six-layers", "five sliding layers and one full", "t3 i5 t4 i12 t3", model="deep"),
    Case("moe-k-eq-v", "26B-A4B's flags: experts, keys used as values", "t3 i5 t4 i12 t3", model="26b-a4b-small"),
    Case("no-towers", "12B's model: no towers, a patch is a soft token", "t3 i5 t4 i12 t3", model="12b-small"),
    Case(
        "shared-kv",
        "E4B's flags: shared KV layers, per-layer inputs, no bidirectional images",
        "t3 i5 t4 i12 t3",
        model="e4b-small",
    ),
    Case(
        "shared-kv-long",
        "shared KV layers, and more keys than one pass of a probe tells apart",
        "t3 i9 t70",
        model="e4b-small",
    ),
    *gemma3.CASES,
]

DECODED = [
    Case("decode-window-minus-one", "steps after a prompt of window - 1 tokens", "t7"),
    Case("decode-window", "steps after a prompt of exactly the window", "t8"),
    Case("decode-window-plus-one", "steps after a prompt one token longer than the window", "t9"),
    Case("decode-after-long-image", "steps right after an image longer than the window", "t3 i12"),
    Case("decode-over-a-block", "steps over the border of a KV block", "t31"),
]
STEPS = 3
"""Tokens that each of them is continued with."""

CACHED = {
    "static": Case("static-cache", "the reference run with a static cache of its own", "t3 i5 t4"),
    "dynamic": Case(
        "no-towers-generate", "12B's model through generate, as it is by itself", "t3 i5 t4", model="12b-small"
    ),
}
"""By the cache of the reference."""

DRAFTED = [Case("drafts", "drafts of n-grams, of which some are accepted and some thrown away", "t3 i12 t4")]
DRAFTS: dict[str, Any] = {"decode": 14, "speculate": 2}
DRAFTED_BY_MODEL = [Case("drafts-of-mtp", "drafts of Gemma 4's own drafter, as the other drafts", "t3 i7 t9")]
OF_MODEL: dict[str, Any] = {**DRAFTS, "draft": "mtp"}

PIPELINED = [Case("pipeline", "the first layer on one rank and the last on another", "t3 i5 t4 i12 t3")]
RANKS: dict[str, Any] = {"pipeline_parallel": 2, "decode": 2}

FAST = [
    Case("fast-prefill", "layers that share keys run the last row of each step alone", "t3 i3 t5", model="e4b-small")
]
FAST_PREFILL: dict[str, Any] = {"arguments": (("kv_sharing_fast_prefill", "true"),), "chunk": 9, "decode": 2}

ADAPTED = [Case("adapter", "a request with a LoRA adapter, beside one without", "t3 i5 t4")]
ADAPTER: dict[str, Any] = {"adapter": "request", "mates": ("t5",)}
BESIDE_ADAPTED = [Case("adapter-of-others", "a request without an adapter, beside one that has it", "t1")]
OF_OTHERS: dict[str, Any] = {"adapter": "mates", "mates": ("t1",)}

PIPELINED_INPUTS = [
    Case("pipeline-per-layer-inputs", "a model with per-layer inputs on two ranks", "t1", model="e4b-shape")
]
TWO_RANKS: dict[str, Any] = {"pipeline_parallel": 2}

APART = [
    (DRAFTED, DRAFTS, "v1"),
    (DRAFTED_BY_MODEL, OF_MODEL, "v1"),
    (DRAFTED_BY_MODEL, OF_MODEL, "v2"),
    (PIPELINED, RANKS, "v1"),
    (FAST, FAST_PREFILL, "v2"),
    (ADAPTED, ADAPTER, "v1"),
    (BESIDE_ADAPTED, OF_OTHERS, "v1"),
    (PIPELINED_INPUTS, TWO_RANKS, "v1"),
]
"""Cases that have a scenario of their own, what that is, and the runner that serves them."""

CASES = [*ON_CPU, *DECODED, *CACHED.values(), *dict.fromkeys(case for cases, *_ in APART for case in cases), *gpu.CASES]

V1 = Setting.of(backend="triton", runner="v1")
V2 = Setting.of(backend="triton", runner="v2")
CPU_ATTN = Setting.of(backend="cpu")
SETTINGS = [V1, V2, CPU_ATTN]
FEWER = {"gemma3-4b-small": [V1], "12b-small": [V1]}
"""Models that are served under fewer settings."""

DROP = replace(gpu.DROP, backends=("triton",))
ADAPTER_OF_OTHERS = Declared(
    family="gemma4",
    logits=True,
    link="https://github.com/vllm-project/vllm/pull/48421",
    reason="on a CPU a request without an adapter gets that of whoever is in the same step "
    "(docs/findings/vllm-cpu-adapter-of-others.md)",
    backends=("triton", "cpu"),
    releases=">=0.25.1,<0.33",
    settings=(("adapter", ("mates",)),),
    mended_by=("pr-48421",),
)
"""In chunks the two may have no step together, and then the logits are right: without them it is certain."""
DECLARED = [
    DROP,
    Declared(
        family="gemma4",
        policy="drop",
        link="https://github.com/vllm-project/vllm/pull/47217",
        reason="the V1 runner leaves an image longer than the window causal",
        backends=("triton",),
        runners=("v1",),
        releases=">=0.20,<0.25",
    ),
    Declared(
        family="gemma4",
        policy="causal",
        link="https://github.com/vllm-project/vllm/pull/40534",
        reason="the V1 runner makes no image ranges for Gemma 4 yet",
        backends=("triton",),
        runners=("v1",),
        releases=">=0.19,<0.20",
    ),
    Declared(
        family="gemma4",
        policy="causal",
        link="https://github.com/vllm-project/vllm/pull/50539",
        reason="the V2 runner makes no image ranges yet (docs/releases.md)",
        backends=("triton",),
        runners=("v2",),
        releases=">=0.23,<0.25",
    ),
    Declared(
        family="gemma4",
        policy="causal",
        link="https://github.com/vllm-project/vllm/issues/40106",
        reason="CPU_ATTN does not know image ranges and the CPU platform chooses it all the same",
        backends=("cpu",),
        releases=">=0.20,<0.33",
    ),
    Declared(
        family="gemma4",
        policy="clamp",
        split=True,
        link="https://github.com/vllm-project/vllm/issues/52306",
        reason="an image is split over steps: it loses its forward half, and counts keys that do not exist yet "
        "(docs/findings/vllm-image-split-over-chunks.md)",
        backends=("triton",),
        runners=("v1",),
        releases=">=0.20,<0.33",
    ),
    Declared(
        policy="clamp-both",
        reference="official",
        family="gemma4",
        link="https://github.com/google-deepmind/gemma/commit/09e7b48ae88720f6236b8266c7213eb51bb62b87",
        reason="the window of the official implementation bounds the later tokens of an image too "
        "(docs/findings/transformers-window-future-side.md)",
        releases=">=4.0,<5",
    ),
    Declared(
        policy="unclamped",
        reference="keras-hub",
        family="gemma4",
        link="https://github.com/huggingface/transformers/pull/46850",
        reason="keras-hub lays images over the window, as transformers did until 5.13 "
        "(docs/findings/keras-hub-images-over-the-window.md)",
        releases=">=0.32,<0.33",
    ),
    Declared(
        policy="causal",
        reference="transformers",
        family="gemma4",
        link="https://github.com/unslothai/unsloth-zoo/pull/729",
        reason="generate makes the masks of a static cache before it knows the token types, so that images are causal "
        "(docs/findings/transformers-static-cache.md)",
        releases=">=5.13,<5.23",
        settings=(("reference_cache", ("static",)),),
    ),
    Declared(
        policy="unclamped",
        full_policy="everywhere",
        reference="transformers",
        family="gemma4",
        member="gemma4_unified",
        link="https://github.com/huggingface/transformers/issues/46711",
        reason="the forward of the model without towers lays images over full layers and over the window "
        "(docs/findings/transformers-unified-forward.md)",
        releases=">=5.13,<5.25",
        settings=(("reference_cache", ("dynamic",)),),
    ),
    Declared(
        family="gemma4",
        logits=True,
        certain=True,
        link="https://github.com/vllm-project/vllm/pull/40786",
        reason="no rank of a pipeline but the first has the per-layer inputs (docs/findings/vllm-pipeline-per-layer-inputs.md)",
        releases=">=0.25.1,<0.33",
        settings=(("pipeline_parallel", (2,)),),
        model_has=("per_layer_input",),
        mended_by=("pipeline-per-layer-inputs",),
    ),
    replace(ADAPTER_OF_OTHERS, certain=True, settings=(*ADAPTER_OF_OTHERS.settings, ("chunk", (None,)))),
    ADAPTER_OF_OTHERS,
    *gpu.DECLARED,
    *gemma3.DECLARED,
]


def entries(platform: str = "cpu", python: str = sys.executable) -> list[tuple[Case, Setting]]:
    """Every case under every setting of ``platform``, by setting, so that engines are started once each."""
    if platform == "cuda":
        return gpu.entries(python)
    every: list[tuple[Case, dict[str, Any]]] = [(case, {}) for case in ON_CPU]
    every += [(case, {"decode": STEPS}) for case in DECODED]
    every += [(case, {"reference_cache": cache}) for cache, case in CACHED.items()]
    models = list(dict.fromkeys(case.model for case in ON_CPU))
    release = release_of(python)
    apart = [
        (case, V1.with_(runner=runner, **more))
        for cases, more, runner in APART
        if "speculate" not in more or release.drafts(more.get("draft", NGRAM), runner)
        for case in cases
    ]
    return apart + [
        (case, setting.with_(**more))
        for model in models
        for setting in FEWER.get(model, SETTINGS)
        for case, more in every
        if case.model == model
    ]


def entries_of(spec: ModelSpec, platform: str = "cpu", python: str = sys.executable) -> list[tuple[Case, Setting]]:
    """The cases of a model, some of which it may not take, under every setting of ``platform``."""
    settings = gpu.settings(python) if platform == "cuda" else SETTINGS
    return [(case, setting) for setting in settings for case in cases_of(spec)]
