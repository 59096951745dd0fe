"""Captures of both sides on disk, with masks that formulas give, as two drivers would have written them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from harness.captures import write as writing
from harness.captures.facts import AfterModel, EngineFacts, Facts, HeadFacts, LayerFacts, Loaded, PromptFacts
from harness.captures.read import Capture
from harness.compare.against import log_probabilities
from harness.compare.comparison import judge
from harness.compare.known import Declared
from harness.compare.likely import Laid
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.families.registry import preset
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout

PLAIN = Setting()
SPEC = preset("tiny").with_(layers="ssf")
KV_HEADS, VOCABULARY, NOISE = 2, 16, 1e-5


def mask_of(policy: str, layout: Layout, window: int, *, sliding: bool) -> np.ndarray:
    spans = [(span.start, span.end) for span in layout.spans]
    return POLICIES[policy].mask(len(layout), spans, window, sliding=sliding)


def masks_of(policy: str, layout: Layout) -> list[np.ndarray]:
    """One mask a layer, boolean (KV heads, N, N)."""
    each = [mask_of(policy, layout, SPEC.window, sliding=letter == "s") for letter in SPEC.layers]
    return [np.repeat(mask[None], KV_HEADS, axis=0) for mask in each]


def truth_of(layout: Layout, seed: int = 0) -> np.ndarray:
    """Logits (N, V) that a model with masks of its own could have; others for another ``seed``."""
    return np.random.default_rng([len(layout), seed]).normal(0, 2, (len(layout), VOCABULARY))


def write(
    directory: Path,
    layout: Layout,
    masks: list[np.ndarray],
    *,
    side: str,
    error: float = NOISE,
    cached: int = 0,
    coarse: float = 0,
    backend: str = "triton",
    steps: list[list[int]] | None = None,
    surplus: np.ndarray | None = None,
    ranges: list[list[int]] | None = None,
    transformers: str = "5.19.0",
    versions: dict[str, str] | None = None,
    decoded: tuple[int, float] | None = None,
    unseen: int = 0,
    truth: np.ndarray | None = None,
    sampled: bool = False,
    suppressed: tuple[int, ...] = (),
    at: tuple[int, ...] = (),
    cached_masks: list[np.ndarray] | None = None,
    ran: tuple[int, ...] | None = None,
    hidden_off_from: int | None = None,
    unseen_there: tuple[int, int] | None = None,
    only: tuple[int, ...] = (),
) -> Capture:
    """A capture of an engine with this back end whose logits are off the truth by ``error``; the first ``cached`` positions
    were not computed. A reference with products in TF32 is off by ``coarse``, if it was run. The rows of every sliding
    layer count ``surplus`` (KV heads, N) keys beside those that they attend. ``decoded`` are the steps of a reference's cached
    decode and how far it is off; of the last ``unseen`` positions serving has no masks. ``truth`` (N, V) are the logits that the
    side is off of. Those of serving are ``sampled`` where they are what its sampler makes of them, who suppresses some tokens.
    There are logits ``at`` some positions, or all. ``cached_masks`` are those of a reference's run with a cache. Serving's last
    layer ``ran`` at these positions alone, or at all. Hidden states are off in the layers ``hidden_off_from`` one on. Of a layer
    serving has none of the last so many masks, as ``unseen_there`` says. Observed are ``only`` these layers, or all."""
    random = np.random.default_rng([len(layout), 1 if side == "serving" else 2])
    truth = truth_of(layout) if truth is None else truth
    computed = np.arange(len(layout)) >= cached
    logits = (truth + error * random.choice([-1.0, 1.0], truth.shape)) * computed[:, None]
    tensors = {"logits": logits.astype(np.float32)}
    if sampled:
        tensors["logits"][:, list(suppressed)] = -np.inf
        tensors["logits"] = log_probabilities(tensors["logits"])
    if side == "reference":
        tensors["truth.logits"] = truth.astype(np.float32)
        tensors["again.logits"] = tensors["logits"].copy()
        if decoded:
            steps_, off = decoded
            tensors["cached.logits"] = (truth + off)[-steps_ - 1 :].astype(np.float32)
        for index, mask in enumerate(cached_masks or ()):
            tensors[f"cached.mask.{index}"] = np.packbits(mask, axis=-1)
        if coarse:
            tensors["tf32.logits"] = (truth + coarse).astype(np.float32)
    else:
        tensors["observed"] = (computed & (np.arange(len(layout)) < len(layout) - unseen)).astype(np.uint8)
        if unseen:
            tensors["computed"] = computed.astype(np.uint8)
    for index, mask in enumerate(masks):
        if only and index not in only:
            continue
        seen = tensors.get("observed", computed).astype(bool)
        if unseen_there and unseen_there[0] == index:
            seen = seen & (np.arange(len(layout)) < len(layout) - unseen_there[1])
            tensors[f"observed.{index}"] = seen.astype(np.uint8)
        tensors[f"mask.{index}"] = np.packbits(mask & seen[:, None], axis=-1)
        if surplus is not None and SPEC.layers[index] == "s":
            tensors[f"surplus.{index}"] = surplus.astype(np.int32)
        size = 1 if hidden_off_from is None or index < hidden_off_from else 2
        tensors[f"hidden.{index}"] = np.full((len(layout), 4), size, dtype=np.float32) * seen[:, None]
    if ran is not None:
        some = np.isin(np.arange(len(layout)), ran)
        tensors |= {f"run.{len(masks) - 1}": some.astype(np.uint8), "run.logits": some.astype(np.uint8)}
        for name in (f"mask.{len(masks) - 1}", f"hidden.{len(masks) - 1}", "logits"):
            tensors[name] = tensors[name] * some.astype(tensors[name].dtype)[:, None]
    facts = Facts(
        layers=tuple(
            LayerFacts(index, kind)
            for index, kind in enumerate(SPEC.layer_types)
            if unseen < len(layout) and (not only or index in only)
        ),
        logits_at=at or tuple(range(len(layout))),
        versions={"vllm": "0.32.0"} if side == "serving" else versions or {"transformers": transformers},
        seconds={},
        loaded=Loaded("a" * 64, {}),
        after=AfterModel(suppressed),
        head=HeadFacts(SPEC.softcap, 1.0, VOCABULARY),
        engine=EngineFacts("v2", backend) if side == "serving" else EngineFacts(),
        log_probabilities=sampled,
    )
    if at:
        tensors |= {name: rows[list(at)] for name, rows in tensors.items() if name.endswith("logits")}
    own = PromptFacts(
        tuple(range(len(layout))),
        ranges={str(index): ranges for index in range(len(SPEC.layers))},
        steps=steps or [[0, len(layout) - 1]],
    )
    writing.write(directory, {name: torch.from_numpy(tensor)[None] for name, tensor in tensors.items()}, facts, [own])
    return Capture(directory)


def judged(
    reference: Capture,
    serving: Capture,
    layout: Layout,
    declared: Declared | None = None,
    imprecise: Declared | None = None,
    aside: Declared | None = None,
    setting: Setting = PLAIN,
    laid: Sequence[Laid] | None = None,
    of_cache: Declared | None = None,
    off: Declared | None = None,
) -> CaseResult:
    """The verdict on two captures."""
    return judge(
        case="case",
        title="",
        layout=layout,
        spec=SPEC,
        setting=setting,
        reference=reference,
        serving=serving,
        declared=declared,
        reproduce="harness run",
        imprecise=imprecise,
        aside=aside,
        laid=laid,
        of_cache=of_cache,
        off=off,
    )
