"""Captures of both sides on disk, with masks that formulas give, as two drivers would have written them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from harness.checkpoint.presets import preset
from harness.checkpoint.spec import ModelSpec
from harness.compare.judge import judge
from harness.compare.result import CaseResult
from harness.case import Declared
from harness.drivers import capture
from harness.drivers.capture import Capture
from harness.layout import Layout
from harness.masks.policies import POLICIES
from harness.setting import Setting

SPEC = preset("tiny").with_(layers="ssf")
KV_HEADS, VOCABULARY, NOISE = 2, 16, 1e-5


def mask_of(policy: str, layout: Layout, window: int, *, sliding: bool) -> np.ndarray:
    spans = [(span.start, span.end) for span in layout.spans]
    return POLICIES[policy].mask(len(layout), spans, window, sliding=sliding)


def masks_of(policy: str, layout: Layout, spec: ModelSpec = SPEC) -> list[np.ndarray]:
    """One mask a layer, boolean (KV heads, N, N)."""
    each = [mask_of(policy, layout, spec.window, sliding=letter == "s") for letter in spec.layers]
    return [np.repeat(mask[None], KV_HEADS, axis=0) for mask in each]


def write(directory: Path, layout: Layout, masks: list[np.ndarray], *, side: str, error: float = NOISE, spec: ModelSpec = SPEC) -> Capture:
    """A capture whose logits are off the truth by at most ``error``."""
    random = np.random.default_rng([len(layout), 1 if side == "serving" else 2])
    truth = np.random.default_rng(len(layout)).normal(0, 2, (len(layout), VOCABULARY))
    logits = truth + error * random.choice([-1.0, 1.0], truth.shape)
    tensors = {"logits": logits.astype(np.float32)}
    if side == "reference":
        tensors["truth.logits"] = truth.astype(np.float32)
    for index, mask in enumerate(masks):
        tensors[f"mask.{index}"] = np.packbits(mask, axis=-1)
        tensors[f"hidden.{index}"] = np.ones((len(layout), 4), dtype=np.float32)
    layers = [{"index": i, "type": kind, "window": spec.window, "ranges": None} for i, kind in enumerate(spec.layer_types)]
    facts = {"token_ids": list(range(len(layout))), "layers": layers, "seconds": {}, "engine": {"runner": "v2"}}
    versions = {"serving": {"vllm": "0.32.0"}, "reference": {"transformers": "5.19.0"}}
    capture.write(directory, {name: torch.from_numpy(t) for name, t in tensors.items()}, {**facts, "versions": versions[side]})
    return Capture(directory)


def judged(reference: Capture, serving: Capture, layout: Layout, declared: Declared | None = None, spec: ModelSpec = SPEC) -> CaseResult:
    """The verdict on two captures."""
    return judge(
        case="case", title="", layout=layout, spec=spec, setting=Setting(), reference=reference, serving=serving,
        declared=declared, reproduce="harness run",
    )  # fmt: skip
