"""From two captures of one prompt to a verdict."""

from __future__ import annotations

from functools import partial
from itertools import groupby

import numpy as np

from harness.case import PRECISIONS, Declared
from harness.checkpoint.spec import ModelSpec
from harness.compare import diagnosis, logits
from harness.compare.masks import Difference
from harness.compare.result import CaseResult, LayerResult, LogitsResult, Verdict, encode_mask
from harness.drivers.capture import Capture
from harness.layout import Layout
from harness.masks.policies import POLICIES
from harness.setting import Setting

FLOOR = ("logits", "again.logits")
"""The reference in the serving dtype, with two attention implementations."""


def judge(
    *,
    case: str,
    title: str,
    layout: Layout,
    spec: ModelSpec,
    setting: Setting,
    reference: Capture,
    serving: Capture,
    declared: Declared | None,
    reproduce: str,
    imprecise: Declared | None = None,
) -> CaseResult:
    """Compare the captures layer by layer and say what it means. ``declared`` is of masks, ``imprecise`` of logits.

    Raises:
        ValueError: the captures are not of the same prompt or model.
    """
    if reference.facts["token_ids"] != serving.facts["token_ids"]:
        raise ValueError("the two sides were not given the same tokens")
    types = {layer["index"]: layer["type"] for layer in reference.facts["layers"]}
    if set(types) != {layer["index"] for layer in serving.facts["layers"]}:
        raise ValueError(f"{len(types)} layers in the reference, {len(serving.facts['layers'])} in serving")
    differences, layers = [], []
    for facts in serving.facts["layers"]:
        index = facts["index"]
        kind = types[index]
        theirs, ours = reference.masks(index), _of_one_rank(serving.masks(index), len(reference.masks(index)))
        if not serving.observed.all():
            theirs = theirs * serving.observed[:, None].astype(np.uint8)
        difference = Difference.of(theirs, ours, reference.unpack)
        differences.append(difference)
        layers.append(_layer(index, kind, len(theirs), difference, facts, layout, spec, setting.backend, reference, serving, declared))
    logits_result = _compared(reference, serving.tensors["logits"], serving.observed, *FLOOR)
    verdict, words, meant = _verdict(
        layers, differences, logits_result, layout, spec, setting, declared, imprecise, reference, serving
    )
    first = next((layer.index for layer, d in zip(layers, differences, strict=True) if not d.equal), None)
    if first is None and not logits_result.within:
        first = _first_hidden(layers, reference)
    return CaseResult(
        case=case,
        title=title,
        layout=str(layout),
        verdict=verdict,
        diagnosis="; ".join([*words, *_notes(reference, serving)]),
        tokens=[{"position": t.position, "kind": t.kind, "segment": t.segment, "name": t.name} for t in layout.tokens],
        layers=layers,
        logits=logits_result,
        first_diverging_layer=first,
        setting={**setting.to_dict(), "label": setting.label, "engine runner": serving.facts["engine"]["runner"]},
        model=spec.to_dict(),
        versions={**reference.facts["versions"], **serving.facts["versions"]},
        seconds={**reference.facts["seconds"], **serving.facts["seconds"]},
        reproduce=reproduce,
        declared=meant.to_dict() if meant else None,
    )


def _of_one_rank(masks: np.ndarray, kv_heads: int) -> np.ndarray:
    """The masks (groups, N, bytes) of ``kv_heads`` KV heads, where ranks that are more than these each had a copy of one."""
    copies = len(masks) // kv_heads
    if copies * kv_heads != len(masks) or copies == 1:
        return masks
    heads = masks.reshape(kv_heads, copies, *masks.shape[1:])
    return heads[:, 0] if (heads == heads[:, :1]).all() else masks


def expected(declared: Declared, layout: Layout, window: int, *, sliding: bool) -> np.ndarray:
    """The mask (N, N) that a declaration expects."""
    spans = [(span.start, span.end) for span in layout.spans if span.kind != "audio"]
    name = declared.policy if sliding else declared.full_policy
    return POLICIES[name].mask(len(layout), spans, window, sliding=sliding)


def _layer(index, kind, groups, difference, facts, layout, spec, backend, reference, serving, declared) -> LayerResult:
    sliding = kind == "sliding_attention"
    group = difference.group
    theirs, ours = difference.reference[group], difference.serving[group]
    missing, extra = difference.counts
    encoded = encode_mask(theirs)
    explain = partial(diagnosis.explanations, layout=layout, window=spec.window, rows=serving.observed, backend=backend, sliding=sliding)
    return LayerResult(
        index=index,
        type=kind,
        window=spec.window if sliding else None,
        kv_head_groups=groups,
        reference_pairs=int(theirs.sum()),
        serving_pairs=int(ours.sum()),
        missing=missing,
        extra=extra,
        reference_policy=(policy := next(explain(theirs), None)),
        serving_policy=policy if difference.equal else next(explain(ours, first=declared and declared.policy), None),
        first_difference=difference.first(layout),
        attention_max_abs_diff=_distance(f"attention.{index}", reference, serving),
        hidden_max_abs_diff=_distance(f"hidden.{index}", reference, serving),
        declared_ranges=facts["ranges"],
        masks={"reference": encoded, "serving": encoded if difference.equal else encode_mask(ours)},
    )


def _distance(name: str, reference: Capture, serving: Capture) -> float | None:
    ours, theirs = serving.tensors.get(name), reference.tensors.get(name)
    return None if ours is None or theirs is None else float(np.abs(ours - theirs).max())


def _compared(reference: Capture, ours: np.ndarray, observed: np.ndarray, *floor: str) -> LogitsResult:
    """Logits against the truth, with those of the reference that are called ``floor`` as samples of the noise floor."""
    samples = [reference.tensors[name] for name in floor]
    return logits.compare(reference.tensors["truth.logits"], samples, ours, observed, reference.facts["logits_at"])


def _shows(imprecise: Declared | None, reference: Capture, observed: np.ndarray) -> bool:
    """Logits of the declared precision are out of bounds for this prompt, so that they would have been seen."""
    sample = reference.tensors.get(f"{imprecise.precision}.logits") if imprecise else None
    return sample is not None and not _compared(reference, sample, observed, *FLOOR).within


def _verdict(
    layers, differences, logits_result, layout, spec, setting, declared, imprecise, reference, serving
) -> tuple[Verdict, list[str], Declared | None]:
    """The verdict, the sentences of the diagnosis, and the declaration that is meant."""
    observed = serving.observed

    def follow(side: str) -> bool:
        """Every layer and KV head group of this side is as declared."""
        return all(
            np.array_equal(expected(declared, layout, spec.window, sliding=layer.window is not None)[observed], group[observed])
            for layer, difference in zip(layers, differences, strict=True)
            for group in getattr(difference, side)
        )

    touched = declared and not follow("reference")
    if all(difference.equal for difference in differences):
        gone = declared if touched else imprecise if logits_result.within and _shows(imprecise, reference, observed) else None
        if gone:
            what = f"divergence `{gone.policy}`" if gone.policy else "imprecision of the logits"
            return Verdict.FIXED, [f"the declared {what} is gone; remove its declaration ({gone.link})"], gone
        if logits_result.within:
            return Verdict.PASS, ["every layer's mask is equal and the logits are within the noise floor"], declared
        off = (
            f"every layer's mask is equal, but the logits at position {logits_result.position_of_worst} are off by "
            f"{logits_result.ratio:.3g} times the noise floor ({logits.FACTOR:g} are allowed)"
        )
        names = {name: f"{name}.logits" for name in PRECISIONS if f"{name}.logits" in reference.tensors}
        coarse = {name: _compared(reference, serving.tensors["logits"], observed, key) for name, key in names.items()}
        explained = [name for name, result in coarse.items() if result.within]
        if explained:
            products = PRECISIONS[explained[0]]
            off += f", {coarse[explained[0]].ratio:.3g} times that of the reference with products in {products}"
        if imprecise and imprecise.precision in explained:
            return Verdict.KNOWN, [off, f"declared: {imprecise.reason} ({imprecise.link})"], imprecise
        why = f"serving multiplies in {products}" if explained else "what is attended to is right, what is computed from it is not"
        return Verdict.DIVERGED, [f"{off}: {why}"], imprecise or declared
    words = _sentences(layers, differences, layout, spec, setting, observed)
    if touched and follow("serving"):
        return Verdict.KNOWN, [*words, f"declared: {declared.reason} ({declared.link})"], declared
    if touched:
        words.append(f"not the declared divergence `{declared.policy}` ({declared.link})")
    return Verdict.DIVERGED, words, declared


def _sentences(layers, differences, layout, spec, setting, observed) -> list[str]:
    wrong = [(layer, d) for layer, d in zip(layers, differences, strict=True) if not d.equal]
    alike = lambda pair: (pair[0].type, pair[0].serving_policy or "", pair[0].missing, pair[0].extra)
    words = []
    for _, group in groupby(sorted(wrong, key=lambda pair: (*alike(pair), pair[0].index)), key=alike):
        members = list(group)
        layer, difference = members[0]
        kind, sliding = ("sliding", True) if layer.window is not None else ("full", False)
        indices = [member.index for member, _ in members]
        mask = difference.serving[difference.group]
        names = diagnosis.explanations(
            mask, layout, spec.window, observed, setting.backend, sliding=sliding, first=layer.serving_policy
        )
        words.append(diagnosis.sentence(kind, indices, difference, list(names), layout, spec.window, setting))
    return words


def _first_hidden(layers: list[LayerResult], reference: Capture) -> int | None:
    """The first layer whose hidden state is off by more than rounding of its own magnitude explains."""
    for layer in layers:
        size = np.abs(reference.tensors[f"hidden.{layer.index}"]).max()
        if layer.hidden_max_abs_diff is not None and layer.hidden_max_abs_diff > 1e-2 * size:
            return layer.index
    return None


def _notes(reference: Capture, serving: Capture) -> list[str]:
    notes = []
    if len(reference.facts["logits_at"]) < reference.tokens:
        notes.append(f"logits were compared at {len(reference.facts['logits_at'])} of {reference.tokens} positions")
    for layer in reference.facts["layers"]:
        declared = reference.declared(layer["index"])
        if declared is not None and (declared != reference.masks(layer["index"])).any():
            notes.append(f"reference layer {layer['index']}: the mask tensor that it declares is not the mask that was observed")
    cached = int((~serving.observed).sum())
    if cached:
        notes.append(f"{cached} positions came from the prefix cache and were not computed")
    return notes
