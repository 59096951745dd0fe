"""Gemma 3: images are bidirectional on every layer, and vLLM drops those that are longer than the window.

In `gemma3-tiny`, whose window is 8 tokens, an image may have any length; in `gemma3-4b-small`, whose window is 32, it has crops of
16 soft tokens, as a published model has crops of 256.
"""

from __future__ import annotations

from harness.compare.known import Declared
from harness.prompts.case import Case

CASES = [
    *(
        Case(f"gemma3-{name}", f"Gemma 3: {title}", layout, model="gemma3-tiny")
        for name, title, layout in (
            ("no-image", "text only, longer than the window", "t24"),
            ("short-image", "one image shorter than the window", "t3 i5 t4"),
            ("image-equals-window", "one image of exactly the window", "t3 i8 t4"),
            ("image-window-plus-one", "one image one token longer than the window", "t3 i9 t4"),
            ("two-images", "a short and a long image", "t3 i5 t4 i12 t3"),
            ("bare-image-first", "soft tokens from position 0 on, without boi and eoi", "I6 t9"),
            ("far-apart", "a text run longer than the window between images", "t2 i6 t12 i6 t2"),
        )
    ),
    Case("gemma3-picture", "Gemma 3: a real picture through both processors", model="gemma3-tiny", picture=(48, 16)),
    Case(
        "gemma3-4b",
        "Gemma 3 4B's layers: crops up to the window and beyond",
        "t3 i16 t4 i32 t9 i48 t3",
        model="gemma3-4b-small",
    ),
]

DECLARED = [
    Declared(
        policy="drop",
        full_policy="everywhere-drop",
        link="https://github.com/vllm-project/vllm/pull/40534",
        reason="an image longer than the window is left causal, on full layers too "
        "(docs/findings/vllm-gemma3-images-longer-than-the-window.md)",
        backends=("triton", "TRITON_ATTN"),
        runners=("v1", "v2"),
        releases=">=0.25,<0.33",
        family="gemma3",
    ),
    Declared(
        policy="causal",
        link="https://github.com/vllm-project/vllm/issues/40106",
        reason="CPU_ATTN does not know image ranges and the CPU platform chooses it all the same",
        backends=("cpu",),
        releases=">=0.32,<0.33",
        family="gemma3",
    ),
]  # fmt: skip
