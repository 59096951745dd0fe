"""Looking for a false alarm: blocks of generated layouts on settings that are right."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from harness.compare.setting import Setting
from harness.prompts import strategies
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification.pipeline import verify_stream
from harness.verification.session import Session

BLOCK = 100
SETTINGS = {"v1": {"runner": "v1"}, "v2 with pr-50539": {"runner": "v2", "overlays": ("pr-50539",)}}
"""What is right of a back end that is."""


def block(session: Session, name: str, number: int, spec: ModelSpec, base: Setting, batch: int) -> dict:
    """Verify `BLOCK` layouts drawn with seed ``number``, ``batch`` of them a step; a failure is kept with its layout and
    diagnosis."""
    start = time.perf_counter()
    found: dict = {"setting": name, "seed": number, "layouts": 0, "tokens": 0, "failures": [], "ratios": [], "largest": 0.0}
    layouts = drawn(number, spec)
    batches = [layouts[first : first + batch] for first in range(0, BLOCK, batch)]
    for results in verify_stream(session, batches, base.with_(**SETTINGS[name]), spec):
        for result in results:
            found["layouts"] += 1
            found["tokens"] += len(result.tokens)
            if not result.verdict.as_expected:
                failure = {"layout": result.layout, "verdict": result.verdict, "diagnosis": result.diagnosis}
                found["failures"].append({**failure, "reproduce": result.reproduce})
            if result.logits:
                found["ratios"].append(round(result.logits.ratio, 3))
                found["largest"] = max(found["largest"], result.logits.max_abs_diff)
    return {**found, "seconds": time.perf_counter() - start}


def drawn(number: int, spec: ModelSpec) -> list[Layout]:
    """`BLOCK` layouts of at most 8 windows, the same for each seed ``number``."""
    most = 8 * spec.window
    either = st.one_of(strategies.threshold_layouts(window=spec.window, max_tokens=most), strategies.layouts(max_tokens=most))
    layouts: list[Layout] = []

    @seed(number)
    @settings(max_examples=BLOCK, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(either)
    def draw(layout: Layout) -> None:
        layouts.append(layout)

    draw()
    return layouts[:BLOCK]


def summary(blocks: Sequence[dict]) -> dict:
    """How many layouts, how long, and the logits error against the floor, over all blocks."""
    ratios = sorted(ratio for block in blocks for ratio in block["ratios"])
    return {
        "layouts": sum(block["layouts"] for block in blocks),
        "by setting": {name: sum(b["layouts"] for b in blocks if b["setting"] == name) for name in SETTINGS},
        "tokens": sum(block["tokens"] for block in blocks),
        "engine seconds": round(sum(block["seconds"] for block in blocks), 1),
        "failures": [failure for block in blocks for failure in block["failures"]],
        "logits error / noise floor": {
            "median": ratios[len(ratios) // 2] if ratios else None,
            "99 %": ratios[len(ratios) * 99 // 100] if ratios else None,
            "largest": ratios[-1] if ratios else None,
        },
        "largest logits error": max((block["largest"] for block in blocks), default=None),
    }
