"""The catalogue of any model: layouts around its own window and the budgets of its processor."""

from __future__ import annotations

from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec

BUDGETS = (70, 140, 280, 560, 1120)
"""Soft tokens that Gemma 4's processor can be told to make of an image."""


def cases_of(spec: ModelSpec) -> list[Case]:
    """Cases for a model, each layout once; the model may not take all of them."""
    window = spec.window
    short, long = max(1, window * 5 // 8), window * 3 // 2
    named = [
        ("no-image", "text only, longer than the window", f"t{3 * window}"),
        ("short-image", "one image shorter than the window", f"t3 i{short} t4"),
        ("image-window-minus-one", "one image of window - 1 tokens", f"t3 i{max(1, window - 1)} t4"),
        ("image-equals-window", "one image of exactly the window", f"t3 i{window} t4"),
        ("image-window-plus-one", "one image one token longer than the window", f"t3 i{window + 1} t4"),
        ("image-twice-window", "one image of twice the window", f"t3 i{2 * window} t4"),
        *((f"budget-{soft}", f"one image of the budget of {soft} tokens", f"t16 i{soft} t16") for soft in BUDGETS),
        ("two-images", "a short and a long image", f"t3 i{short} t4 i{long} t3"),
        ("three-images", "images around the window", f"t2 i{max(1, window - 1)} t3 i{window} t2 i{window + 1} t3"),
        ("image-first", "an image at the very start", f"i{short} t9"),
        ("bare-image-first", "soft tokens from position 0 on, without boi and eoi", f"I{short} t9"),
        ("image-last", "an image at the very end", f"t9 i{short}"),
        ("one-soft-token", "an image of a single soft token", "t4 i1 t4"),
        ("back-to-back", "images with nothing but boi and eoi between them", f"t2 i{short} i{short} i{window + 1} t2"),
        ("far-apart", "a text run longer than the window between images", f"t2 i{short} t{long} i{short} t2"),
        ("video", "a video of three frames", f"t3 v3x{min(short, 70)} t4"),
    ]
    if spec.audio:
        named.append(("audio", "a sound before a long image", f"t2 a14 t3 i{window + 1} t2"))
    layouts: dict[str, Case] = {}
    for name, title, layout in named:
        layouts.setdefault(layout, Case(name, title, layout, model=spec.name))
    return list(layouts.values())
