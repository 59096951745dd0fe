"""Results made of masks that the formulas really give, as a run would make them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from harness.compare import logits as compare_logits
from harness.compare.diagnosis import explanations, sentence
from harness.compare.known import Declared
from harness.compare.masks import Difference
from harness.compare.result import CaseResult, Failure, LayerResult, LogitsResult, encode_mask
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.engines.vllm.options import MODES
from harness.errors import FailureKind
from harness.families.registry import preset
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout

LINK = "https://github.com/vllm-project/vllm/pull/50539"
DROP = Declared(policy="drop", link=LINK, reason="the V2 runner leaves an image longer than the window causal")
SIX = [
    (backend, runner, mode)
    for backend, runner in (("triton", "v1"), ("triton", "v2"), ("cpu", "auto"))
    for mode in MODES
]
LETTERS = {"s": "sliding_attention", "f": "full_attention"}


def result(
    layout: str = "t3 i5 t4 i12 t3",
    *,
    case: str = "two-images",
    title: str = "a short and a long image",
    policy: str = "clamp",
    reference: str = "clamp",
    declared: Declared | None = None,
    setting: Setting | None = None,
    layers: str = "ssf",
    window: int = 8,
    noise: float = 1e-6,
    shift: float = 0.0,
) -> CaseResult:
    """A result whose serving masks follow ``policy``; ``shift`` is added to the logits of positions whose mask differs."""
    parsed, setting, spec = Layout.parse(layout), setting or Setting(), preset("tiny")
    made = [_layer(index, LETTERS[letter], parsed, window, reference, policy) for index, letter in enumerate(layers)]
    wrong = [(layer, difference) for layer, difference in made if not difference.equal]
    logits = _logits(parsed, wrong, noise, shift)
    return CaseResult(
        case=case,
        title=title,
        layout=layout,
        verdict=_verdict(bool(wrong), logits.within, declared),
        diagnosis=_diagnosis(wrong, parsed, window, setting),
        tokens=[asdict(token) for token in parsed.tokens],
        layers=[layer for layer, _ in made],
        logits=logits,
        first_diverging_layer=wrong[0][0].index if wrong else None,
        setting={
            **setting.to_dict(),
            "label": setting.label,
            "engine runner": "v2" if setting.engine.runner == "auto" else setting.engine.runner,
        },
        model=spec.to_dict(),
        versions={"transformers": "5.19.0", "vllm": "0.32.0", "torch": "2.13.0"},
        seconds={"start": 21.4, "reference": 0.31, "reference probing": 0.52, "serving": 0.9, "comparison": 0.02},
        reproduce=f"harness run --layout '{layout}' --backend {setting.engine.backend}",
        declared=asdict(declared) if declared else None,
    )


def failed(
    log: str = "Traceback\nRuntimeError: out of blocks", message: str = "the serving driver died (signal 9)"
) -> CaseResult:
    """A result without an answer."""
    setting = Setting.of(backend="cpu")
    return CaseResult(
        case="image-last", title="an image at the very end", layout="t9 i6", verdict=Verdict.ERROR,
        diagnosis=f"no answer: {message}", tokens=[asdict(token) for token in Layout.parse("t9 i6").tokens], layers=[],
        logits=None, first_diverging_layer=None, setting={**setting.to_dict(), "label": setting.label},
        model=preset("tiny").to_dict(), versions={}, seconds={}, reproduce="harness run --layout 't9 i6' --backend cpu",
        error=Failure("serving", FailureKind.GONE, message, log),
    )  # fmt: skip


def one_of_each() -> list[CaseResult]:
    """PASS, KNOWN, DIVERGED by too much and by too little, DIVERGED in the logits only, FIXED, ERROR."""
    return [
        result(case="image-first", layout="i6 t9", title="an image at the very start"),
        result(case="two-images", policy="drop", declared=DROP, shift=0.4, setting=Setting.of(runner="v2")),
        result(case="image-far-longer", layout="t3 i40 t4", title="far longer", policy="unclamped", shift=0.1),
        result(
            case="video-and-image",
            layout="t2 v2x4 t3 i10 t2",
            title="both",
            policy="causal",
            shift=0.7,
            setting=Setting.of(backend="cpu"),
        ),
        result(
            case="short-image", layout="t3 i5 t4", title="logits only", shift=-1.0, setting=Setting.of(mode="compiled")
        ),
        result(
            case="image-twice-window", layout="t3 i16 t4", title="gone", declared=DROP, setting=Setting.of(runner="v2")
        ),
        failed(),
    ]


def sixty() -> list[CaseResult]:
    """Ten layouts under six settings, as large as a catalogue."""
    settings = [Setting.of(backend=backend, runner=runner, mode=mode) for backend, runner, mode in SIX]
    return [
        result(
            case=f"image-of-{soft}",
            title=f"an image of {soft} tokens",
            layout=f"t3 i{soft} t4",
            policy="drop"
            if setting.engine.runner == "v2"
            else "causal"
            if setting.engine.backend == "cpu"
            else "clamp",
            declared=DROP if setting.engine.runner == "v2" and soft > 8 else None,
            setting=setting,
            shift=0.3,
        )
        for setting in settings
        for soft in range(3, 33, 3)
    ]


def _layer(
    index: int, kind: str, layout: Layout, window: int, reference: str, policy: str
) -> tuple[LayerResult, Difference]:
    sliding = kind == "sliding_attention"
    spans = layout.vision
    theirs, ours = (POLICIES[name].mask(len(layout), spans, window, sliding=sliding) for name in (reference, policy))
    difference = Difference(theirs[None], ours[None])
    every = np.ones(len(layout), dtype=bool)
    names = [next(explanations(mask, layout, window, every, "", sliding=sliding), None) for mask in (theirs, ours)]
    layer = LayerResult(
        index=index, type=kind, window=window if sliding else None, kv_head_groups=1,
        reference_pairs=int(theirs.sum()), serving_pairs=int(ours.sum()),
        missing=int(difference.missing.sum()), extra=int(difference.extra.sum()),
        reference_policy=names[0], serving_policy=names[1],
        first_difference=difference.first(layout), attention_max_abs_diff=2.4e-7 if difference.equal else 0.31,
        hidden_max_abs_diff=4.1e-7 if difference.equal else 0.52,
        declared_ranges=[list(span) for span in spans] if sliding else [],
        masks={"reference": encode_mask(theirs), "serving": encode_mask(ours)},
    )  # fmt: skip
    return layer, difference


def _logits(layout: Layout, wrong: list, noise: float, shift: float) -> LogitsResult:
    random = np.random.default_rng(len(layout))
    truth = random.normal(0, 2, (len(layout), 32))
    reference, serving = (truth + random.normal(0, noise, truth.shape) for _ in range(2))
    touched = np.zeros(len(layout), dtype=bool)
    for _, difference in wrong:
        touched |= (difference.missing | difference.extra).any(axis=1)
    touched |= shift < 0
    serving[touched] += random.normal(0, abs(shift), (int(touched.sum()), truth.shape[1]))
    return compare_logits.compare(truth, [reference], serving, np.ones(len(layout), dtype=bool), range(len(layout)))


def _verdict(wrong: bool, within: bool, declared: Declared | None) -> Verdict:
    if wrong:
        return Verdict.KNOWN if declared else Verdict.DIVERGED
    if declared:
        return Verdict.FIXED
    return Verdict.PASS if within else Verdict.DIVERGED


def _diagnosis(wrong: list, layout: Layout, window: int, setting: Setting) -> str:
    if not wrong:
        return "every layer's mask is equal"
    layer, difference = wrong[0]
    indices = [member.index for member, _ in wrong]
    names = [layer.serving_policy] if layer.serving_policy else []
    return sentence("sliding", indices, difference, names, layout, window, setting)
