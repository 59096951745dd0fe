"""From two captures of one prompt to a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from harness.captures.facts import LayerFacts
from harness.captures.read import Capture
from harness.captures.selection import MASKS
from harness.compare import diagnosis, logits, surplus
from harness.compare.against import against
from harness.compare.decode import Decode, Meaning
from harness.compare.expected import expected, masked_by
from harness.compare.head import Head
from harness.compare.known import PRECISIONS, Declared
from harness.compare.likely import Laid, Likely, unseen
from harness.compare.loaded import Weights, check_checkpoints
from harness.compare.masks import Difference
from harness.compare.result import CaseResult, Failure, LayerResult, LogitsResult, encode_mask
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import FailureKind
from harness.families.registry import family_of
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.references import adapter
from harness.text import listed

API_ALONE = "its API alone was asked, since the server was started without the plugin"
ROUNDING = 0.5
"""The largest share of the spread of the logits that the reference's own error may have at the median position. Logits of
another model are as far off as they are spread, or further; rounding that makes half of that leaves nothing to compare. At most
0.045 was measured, in bfloat16 (docs/measurements.md)."""
Compared = list[tuple[LayerResult, Difference]]


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
    aside: Declared | None = None,
    laid: Sequence[Laid] | None = None,
    of_cache: Declared | None = None,
    off: Declared | None = None,
) -> CaseResult:
    """Compare the captures layer by layer and say what it means. ``declared`` is of serving's masks, ``imprecise`` of the precision
    of its logits and ``off`` of logits that are wrong, ``aside`` of the reference's masks, ``of_cache`` of those that it has with a
    cache of its own. Where masks of serving were not observed, ``laid`` are those that were laid over the reference.

    Raises:
        ValueError: the captures are not of the same prompt, checkpoint or model.
    """
    both = _Both(layout, spec, setting, reference, serving, Likely(laid, serving))
    differences = both.differences()
    layers = [both.layer(facts, one, declared) for facts, one in zip(both.layers, differences, strict=True)]
    found = both.logits()
    compared = list(zip(layers, differences, strict=True))
    first = next((layer.index for layer in layers if layer.differs), None)
    if first is not None:
        verdict, words, meant = both.masks_differ(compared, declared, aside)
    else:
        verdict, words, meant = both.masks_are_equal(compared, found, declared, imprecise, aside, off)
        first = None if found.within else _first_hidden(layers, reference)
    weights, head = Weights.of(reference, serving), Head(reference, serving)
    if beyond := [*weights.sentences, *both.widths, *head.sentences]:
        verdict, words = Verdict.DIVERGED, [*beyond, *words]
    if not found.within:
        words = [*words, *head.causes]
    decode = Decode.of(reference, layout, spec, setting, found, of_cache)
    if decode:
        verdict, words, meant = decode.judged(verdict, words, meant, both.at_fault(compared))
    engine = serving.facts.engine
    return CaseResult(
        case=case,
        title=title,
        layout=str(layout),
        verdict=verdict,
        diagnosis="; ".join([*words, *weights.notes, *head.notes, *_notes(reference, serving)]),
        tokens=[{"position": t.position, "kind": t.kind, "segment": t.segment, "name": t.name} for t in layout.tokens],
        layers=layers,
        logits=found,
        first_diverging_layer=first,
        setting={
            **setting.to_dict(),
            "label": setting.label,
            "engine runner": engine.runner,
            "engine backend": engine.backend,
        },
        model=spec.to_dict(),
        versions={**reference.facts.versions, **serving.facts.versions},
        seconds={**reference.facts.seconds, **serving.facts.seconds},
        reproduce=reproduce,
        declared=meant.to_dict() if meant else None,
        error=Failure("comparison", FailureKind.INCOMPARABLE, words[0]) if verdict is Verdict.ERROR else None,
        at_fault=both.at_fault(compared) or (decode.at_fault if decode else None),
        cached_logits=decode.cached if decode else None,
    )


@dataclass(frozen=True)
class _Both:
    """Two captures of one prompt, and what they are of."""

    layout: Layout
    spec: ModelSpec
    setting: Setting
    reference: Capture
    serving: Capture
    likely: Likely

    def __post_init__(self) -> None:
        theirs, ours = self.reference.facts, self.serving.facts
        if self.reference.prompt.token_ids != self.serving.prompt.token_ids:
            raise ValueError("the two sides were not given the same tokens")
        check_checkpoints(self.reference, self.serving)
        if not self.blind and {layer.index for layer in theirs.layers} != {layer.index for layer in ours.layers}:
            raise ValueError(f"{len(theirs.layers)} layers in the reference, {len(ours.layers)} in serving")

        if not self.serving.answered[list(theirs.logits_at)].any():
            at = listed(theirs.logits_at, 5)
            left_out = self.serving.computed[list(theirs.logits_at)].any()
            why = "layers that share keys left them out" if left_out else "the prefix cache had them"
            raise ValueError(
                f"serving computed logits at none of the positions that are compared, {at}: {why}; nothing is left to judge it by"
            )

    @property
    def rows(self) -> np.ndarray:
        """Positions that serving computed, boolean (N,)."""
        return self.serving.observed

    @property
    def blind(self) -> bool:
        """No mask of serving was observed at all."""
        return not self.rows.any()

    @property
    def masks_said(self) -> str:
        """What is said of masks where none that was observed differs."""
        if self.blind:
            asked = self.setting.selection.observe != MASKS
            why = "as asked for" if asked else "every step ran where hooks are not called, as in a full CUDA graph"
            why = API_ALONE if self.serving.facts.engine.by_api else why
            return f"serving's masks were not observed ({why})"
        ran = " where it was run" if _left_out(self.serving) else ""
        every = "every layer's" if len(self.layers) == len(self.spec.layers) else "every observed layer's"
        return f"{every} mask is equal" + (" where it was observed" if self.unobserved else ran)

    @property
    def unobserved(self) -> bool:
        """Serving computed positions whose masks nobody observed, in some layer at least."""
        return bool((self.serving.computed & ~self.serving.observed_in_all).any())

    @property
    def unseen(self) -> bool:
        """Nobody saw a part of what serving attended, that it computed here or before."""
        return unseen(self.spec, self.serving)

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """Those whose masks were observed on both sides."""
        return () if self.blind else self.serving.facts.layers

    def differences(self) -> list[Difference]:
        """Each layer's masks, where serving computed them."""
        found = []
        for facts in self.layers:
            theirs = self.reference.masks(facts.index)
            ours = of_one_rank(self.serving.masks(facts.index), len(theirs))
            rows = self.serving.rows(facts.index)
            if not rows.all():
                theirs = theirs * rows[:, None].astype(np.uint8)
            found.append(Difference.of(theirs, ours, self.reference.unpack))
        return found

    def logits(self, *floor: str) -> LogitsResult:
        """Serving's logits against the truth; the reference's that are called ``floor``, or `FLOOR`, are samples of the noise
        floor."""
        return against(self.reference, self.serving, *floor)

    @property
    def _widths(self) -> tuple[int, int]:
        return tuple(side.tensors["logits"].shape[-1] for side in (self.reference, self.serving))

    @property
    def widths(self) -> list[str]:
        """A sentence where one side has logits of more tokens; those that both have are compared."""
        theirs, ours = self._widths
        return [f"serving computes logits of {ours} tokens, the reference of {theirs}"] if theirs != ours else []

    def layer(self, facts: LayerFacts, difference: Difference, declared: Declared | None) -> LayerResult:
        index = facts.index
        kind = next(layer.type for layer in self.reference.facts.layers if layer.index == index)
        sliding = kind == "sliding_attention"
        theirs, ours = difference.reference[difference.group], difference.serving[difference.group]
        missing, extra = difference.counts
        encoded = encode_mask(theirs)
        rows = self.serving.rows(index)
        policy = next(self._explanations(theirs, sliding, rows), None)
        return LayerResult(
            index=index,
            type=kind,
            window=self.spec.window if sliding else None,
            kv_head_groups=max(len(self.reference.masks(index)), len(difference.reference)),
            reference_pairs=int(theirs.sum()),
            serving_pairs=int(ours.sum()),
            missing=missing,
            extra=extra,
            reference_policy=policy,
            serving_policy=policy
            if difference.equal
            else next(self._explanations(ours, sliding, rows, _name(declared) if declared else None), None),
            first_difference=difference.first(self.layout),
            attention_max_abs_diff=_distance(f"attention.{index}", self.reference, self.serving),
            hidden_max_abs_diff=_distance(f"hidden.{index}", self.reference, self.serving),
            declared_ranges=self.serving.prompt.ranges.get(str(index)),
            masks={"reference": encoded, "serving": encoded if difference.equal else encode_mask(ours)},
            surplus=surplus.runs(self.serving.surplus(index)),
        )

    def _intended(self, kind: str) -> str:
        return family_of(self.spec).policy(kind, self.spec.bidirectional)

    @cached_property
    def steps(self) -> surplus.Steps:
        return surplus.Steps(self.serving.prompt.steps, self.serving.tokens)

    def _explanations(
        self, mask: np.ndarray, sliding: bool, rows: np.ndarray, first: str | None = None
    ) -> Iterator[str]:
        backend = self.serving.facts.engine.backend
        among = (mask, self.layout, self.spec.window, rows, backend)
        whole = diagnosis.explanations(*among, sliding=sliding, first=first, family=family_of(self.spec))
        if not self.steps.split(self.layout):
            yield from whole
            return
        names = list(whole)
        cut = [
            name
            for name in diagnosis.explanations(
                *among, sliding=sliding, visible=self.steps.visible, family=family_of(self.spec)
            )
            if name not in names
        ]
        intended = self._intended("sliding" if sliding else "full")
        yield from sorted([*map(surplus.cut, cut), *names], key=lambda name: (name != first, name != intended))

    def masks_are_equal(
        self,
        compared: Compared,
        found: LogitsResult,
        declared: Declared | None,
        imprecise: Declared | None,
        aside: Declared | None = None,
        wrong: Declared | None = None,
    ) -> Meaning:
        """What it means that all masks are equal, with these logits. What is declared of masks is gone then, unless it is what is
        there; wrong logits are told all the same."""
        if nothing := self._no_answer(found):
            return Verdict.ERROR, [f"no answer: {self.masks_said}, but {nothing}"], None
        shows = self.likely.shows(declared) if declared and (self.blind or self.unseen) else None
        gone = None
        if declared and (
            (found.within and shows is False) if self.blind else not self._follows(compared, "reference", declared)
        ):
            gone = declared
        elif aside and not self._follows(compared, "reference", aside):
            gone = aside
        verdict, words, meant = self._of_logits(compared, found, declared, imprecise, wrong, shows=shows)
        if gone is None:
            return verdict, words, meant
        if verdict.as_expected:
            return Verdict.FIXED, [gone.gone, *(words if verdict is Verdict.KNOWN else [])], gone
        return verdict, [*words, gone.gone], meant

    def _of_logits(
        self,
        compared: Compared,
        found: LogitsResult,
        declared: Declared | None,
        imprecise: Declared | None,
        wrong: Declared | None,
        *,
        shows: bool | None,
    ) -> Meaning:
        """What these logits mean where all masks are equal; ``shows`` says whether they tell what is declared of masks that nobody
        observed, if that is to be told."""
        if found.within and imprecise and self._shows(imprecise):
            return Verdict.FIXED, [imprecise.gone], imprecise
        if found.within and wrong and wrong.certain:
            return Verdict.FIXED, [wrong.gone], wrong
        if found.within:
            return Verdict.PASS, [f"{self.masks_said} and the logits are within the noise floor"], declared
        if alone := found.not_finite.get("serving"):
            words = f"serving's logits {_no_numbers(alone)}, the reference's are"
            words += ": NaN of a free slot of the KV cache got in" if self.setting.scenario.poison else ""
            return Verdict.DIVERGED, [f"{self.masks_said}, but {words}"], imprecise or declared
        off = (
            f"{self.masks_said}, but the logits at position {found.position_of_worst} are off by "
            f"{found.ratio:.3g} times the noise floor ({logits.FACTOR:g} are allowed)"
        )
        coarse = {
            name: self.logits(f"{name}.logits") for name in PRECISIONS if f"{name}.logits" in self.reference.tensors
        }
        explained = next((name for name, result in coarse.items() if result.within), None)
        if not explained and (self.unobserved or (self.unseen and not wrong)):
            why = self.likely.sentence
            if declared and shows:
                return Verdict.KNOWN, [off, why, declared.met], declared
            other = [_not(declared)] if declared and shows is False else []
            return Verdict.DIVERGED, [off, why, *other], imprecise or declared
        if not explained:
            off += ": what is attended to is right, what is computed from it is not"
            other = self._not_there(wrong, compared)
            if wrong and not other:
                return Verdict.KNOWN, [off, wrong.met], wrong
            return Verdict.DIVERGED, [off, *other], imprecise or declared
        off += f", {coarse[explained].ratio:.3g} times that of the reference with products in {PRECISIONS[explained]}"
        if imprecise and imprecise.precision == explained:
            return Verdict.KNOWN, [off, imprecise.met], imprecise
        return Verdict.DIVERGED, [f"{off}: serving multiplies in {PRECISIONS[explained]}"], imprecise or declared

    def _not_there(self, wrong: Declared | None, compared: Compared) -> list[str]:
        """A sentence where the layer that is off first is another one than is declared of logits that are wrong."""
        if wrong is None or wrong.first_layer is None:
            return []
        first = _first_hidden([layer for layer, _ in compared], self.reference)
        there = {layer.index for layer, _ in compared}
        unseen = [index for index in range(wrong.first_layer + 1) if index not in there]
        if unseen and (first is None or first >= wrong.first_layer):
            where = f"whether it is the declared divergence from layer {wrong.first_layer} on cannot be told"
            return [f"{where}: layers {listed(unseen, 20)} were not observed ({wrong.link})"]
        if first == wrong.first_layer:
            return []
        seen = (
            "no layer's hidden states are seen to be off"
            if first is None
            else f"hidden states are off from layer {first} on"
        )
        return [f"not the declared divergence from layer {wrong.first_layer} on: {seen} ({wrong.link})"]

    def _no_answer(self, found: LogitsResult) -> str:
        """Why these logits are nothing to judge serving by, if they are not and what can be judged is within the bound."""
        if found.floor_share > ROUNDING:
            return (
                "the noise floor cannot be rounding: at the median position the reference in "
                f"{self.setting.engine.dtype} is off the truth by {found.floor_share:.3g} of the spread of the logits themselves"
            )
        if found.ratio > logits.FACTOR:
            return ""
        lost = self.reference.facts.loaded.not_finite
        cause = f", and neither is the checkpoint's own {listed(lost)}" if lost else ""
        if both := found.not_finite.get("both"):
            return f"the logits of both sides {_no_numbers(both)}, which is no divergence of serving: {self._source(both)}{cause}"
        if alone := found.not_finite.get("reference"):
            return f"the reference's logits {_no_numbers(alone)}, serving's are: {self._source(alone)}{cause}"
        return ""

    def _source(self, positions: list[int]) -> str:
        """Whether the precision or the model is what has no numbers there."""
        rows = [self.reference.facts.logits_at.index(position) for position in positions]
        if np.isfinite(self.reference.tensors["truth.logits"][rows]).all():
            return f"{self.setting.engine.dtype} overflows, a higher precision does not"
        return "neither are those of the reference in a higher precision"

    def masks_differ(self, compared: Compared, declared: Declared | None, aside: Declared | None = None) -> Meaning:
        """What it means that some masks differ. What is ``declared`` of serving is meant where serving is at fault, and excuses no
        reference, whose own declaration is ``aside``."""
        words = self._sentences(compared)
        if aside and self._follows(compared, "reference", aside):
            meant = Declared(policy=self._intended("sliding"), full_policy=self._intended("full"))
            if self._follows(compared, "serving", meant):
                return self._known(words, aside, meant)
        at_fault = self.at_fault(compared)
        if declared and at_fault in ("serving", "both") and not self._follows(compared, "reference", declared):
            excused = at_fault == "serving" or (aside and self._follows(compared, "reference", aside))
            if excused and self._follows(compared, "serving", declared):
                return self._known(words, declared, declared)
            words.append(_not(declared))
        return Verdict.DIVERGED, words, declared

    def _known(self, words: list[str], declared: Declared, masks: Declared) -> Meaning:
        """Serving's masks are those of ``masks``, as declared: its logits must be those that these give, since a declaration of
        masks hides nothing else. Where rows count keys that no mask has, what follows from these rows alone is left out."""
        reached = self._reached if masks.split else np.zeros(self.serving.tokens, dtype=bool)
        found = self.likely.against(masks, ~reached) if reached.any() else self.likely.against(masks)
        if found and (nothing := self._no_answer(found)):
            return (
                Verdict.ERROR,
                [f"no answer: these masks are declared ({declared.link}), but {nothing}", *words],
                None,
            )
        if found is None or found.within:
            left = (
                [f"logits at {reached.sum()} positions are not judged, which follow from those keys"]
                if reached.any()
                else []
            )
            return Verdict.KNOWN, [*words, declared.met, *left], declared
        beside = (
            f"these masks are declared ({declared.link}), but do not explain the logits: a reference that attends by them is "
            f"{found.ratio:.3g} times the noise floor away ({logits.FACTOR:g} are allowed)"
        )
        return Verdict.DIVERGED, [*words, beside], declared

    @cached_property
    def _reached(self) -> np.ndarray:
        """Positions whose logits follow from rows that count keys beside their own, boolean (N,): layer by layer those rows, and
        what attends to what was reached before, or may, since nobody saw. Where not all layers were observed, what begins with the
        first split image."""
        serving, layers = self.serving, sorted(layer.index for layer in self.layers)
        reached = np.zeros(serving.tokens, dtype=bool)
        if layers != list(range(len(self.spec.layers))):
            split = [span.start for span in self.layout.spans if self.steps.ends[span.start] < span.end]
            return reached | (np.arange(serving.tokens) >= min(split, default=serving.tokens))
        unseen = serving.computed & ~serving.observed_in_all
        for index in layers:
            attends = serving.unpack(serving.masks(index)).any(axis=0)
            reached = reached | serving.surplus(index).any(axis=0) | (attends & reached[None, :]).any(axis=1)
            reached |= unseen & np.logical_or.accumulate(reached)
        return reached

    def _follows(self, compared: Compared, side: str, declared: Declared) -> bool:
        """Every layer and KV head group of this side is as declared. Where images that are split are declared, only the pairs
        that their step could see are meant, and their rows may count keys beyond it."""
        visible = self.steps.visible if declared.split else np.True_
        return all(
            np.array_equal((wanted & visible)[rows], group[rows])
            for layer, difference in compared
            for rows in [self.serving.rows(layer.index)]
            for wanted in [expected(declared, self.layout, self.spec.window, sliding=layer.window is not None)]
            for group in getattr(difference, side)
        ) and (
            side == "reference"
            or all(not layer.surplus or (declared.split and self._beyond(layer)) for layer, _ in compared)
        )

    def _beyond(self, layer: LayerResult) -> bool:
        """All keys that a layer's rows count beside their own can be later soft tokens of their own image."""
        return self.steps.beyond(self.layout, self.serving.surplus(layer.index))

    def _shows(self, imprecise: Declared) -> bool:
        """Logits of the declared precision are out of bounds for this prompt, so that they would have been seen."""
        name = f"{imprecise.precision}.logits"
        return name in self.reference.tensors and not against(self.reference, self.serving, ours=name).within

    def at_fault(self, compared: Compared) -> str | None:
        """The side whose masks are not those that are intended, where masks differ: "reference", "serving" or "both". Serving's are
        those of the likeliest policy, where they were not observed."""
        found = self._likely_at_fault()
        for layer, difference in compared:
            meant = self._intended("sliding" if layer.window is not None else "full")
            rows = self.serving.rows(layer.index)
            wanted = masked_by(meant, self.layout, self.spec.window, sliding=layer.window is not None)[rows]
            for side in ("reference", "serving") if layer.differs else ():
                if not all(np.array_equal(wanted, group[rows]) for group in getattr(difference, side)):
                    found.add(side)
            if layer.surplus:
                found.add("serving")
        return "both" if len(found) > 1 else next(iter(found), None)

    def _likely_at_fault(self) -> set[str]:
        """The sides that are at fault if serving's masks are those of the likeliest policy, where its logits say that they are."""
        likely = self.likely.found
        if not likely or self.logits().within:
            return set()
        intended = (self._intended("sliding"), self._intended("full"))
        serving = set() if any(intended in one.policies for one in likely) else {"serving"}
        reference = all(
            np.array_equal(
                self.reference.unpack(group), masked_by(meant, self.layout, self.spec.window, sliding=sliding)
            )
            for layer in self.reference.facts.layers
            for sliding in [layer.type == "sliding_attention"]
            for meant in [self._intended("sliding" if sliding else "full")]
            for group in self.reference.masks(layer.index)
        )
        return serving | (set() if reference else {"reference"})

    def _sentences(self, compared: Compared) -> list[str]:
        """A sentence for the layers that differ in the same way."""
        wrong = [pair for pair in compared if pair[0].differs]

        def alike(pair: tuple[LayerResult, Difference]) -> tuple:
            layer, _ = pair
            return layer.type, layer.serving_policy or "", layer.missing, layer.extra, layer.surplus or []

        words = []
        for _, group in groupby(sorted(wrong, key=lambda pair: (*alike(pair), pair[0].index)), key=alike):
            members = list(group)
            layer, difference = members[0]
            kind, sliding = ("sliding", True) if layer.window is not None else ("full", False)
            indices = [member.index for member, _ in members]
            if not difference.equal:
                ours, theirs = (getattr(difference, side)[difference.group] for side in ("serving", "reference"))
                rows = self.serving.rows(layer.index)
                served = list(self._explanations(ours, sliding, rows, layer.serving_policy))
                referred = list(self._explanations(theirs, sliding, rows))
                meant = self._intended(kind)
                if meant not in referred:
                    made_by = adapter.made_by(self.reference.facts.versions)
                    said = (family_of(self.spec), kind, indices, difference, referred, meant, made_by)
                    words.append(diagnosis.of_the_reference(*said, served=meant in served))
                if meant not in served or meant in referred:
                    words.append(
                        diagnosis.sentence(
                            kind, indices, difference, served, self.layout, self.spec.window, self.setting
                        )
                    )
            if layer.surplus:
                words.append(
                    surplus.sentence(kind, indices, layer.surplus, layer.declared_ranges, self.steps, self.layout)
                )
        return words


def _no_numbers(positions: list[int]) -> str:
    return f"are not finite at position{'s' if len(positions) > 1 else ''} {listed(positions, 5)}"


def _name(declared: Declared) -> str:
    """The name of a declared policy, as `_Both._explanations` gives it."""
    return surplus.cut(declared.policy) if declared.split else declared.policy


def _not(declared: Declared) -> str:
    return f"not the declared divergence `{declared.policy}` ({declared.link})"


def of_one_rank(masks: np.ndarray, kv_heads: int) -> np.ndarray:
    """The masks (groups, N, bytes) of ``kv_heads`` KV heads, where ranks that are more than these each had a copy of one."""
    copies = len(masks) // kv_heads
    if copies * kv_heads != len(masks) or copies == 1:
        return masks
    heads = masks.reshape(kv_heads, copies, *masks.shape[1:])
    return heads[:, 0] if (heads == heads[:, :1]).all() else masks


def _distance(name: str, reference: Capture, serving: Capture) -> float | None:
    """Of the rows that were observed on both sides: the others are empty."""
    ours, theirs = serving.tensors.get(name), reference.tensors.get(name)
    both = reference.observed & serving.rows(int(name.rpartition(".")[2]))
    return None if ours is None or theirs is None or not both.any() else float(np.abs(ours - theirs)[both].max())


def _first_hidden(layers: list[LayerResult], reference: Capture) -> int | None:
    """The first layer whose hidden state is off by more than rounding of its own magnitude explains."""
    for layer in layers:
        size = np.abs(reference.tensors[f"hidden.{layer.index}"]).max()
        if layer.hidden_max_abs_diff is not None and layer.hidden_max_abs_diff > 1e-2 * size:
            return layer.index
    return None


def _again(steps: list[list[int]]) -> tuple[int, int] | None:
    """The first and the last position that a later one of the ``steps`` computed again; the last time is the one that counts."""
    done = -1
    places = []
    for first, last in steps:
        places += [first, min(last, done)] if first <= done else []
        done = max(done, last)
    return (min(places), max(places)) if places else None


def _left_out(serving: Capture) -> list[str]:
    """What was not run, by the engine's own option."""
    some = [layer.index for layer in serving.facts.layers if f"run.{layer.index}" in serving.tensors]
    at = list(serving.facts.logits_at)
    ran, computed = (serving.rows(some[0]), serving.observed) if some else (serving.answered[at], serving.computed[at])
    if ran.sum() == computed.sum():
        return []
    layers = f"layers {listed(some, 20)}, which share keys," if some else "layers that share keys"
    compared = "" if some or len(at) == serving.tokens else " that are compared"
    sampled = (
        f"computed {ran.sum()} of {computed.sum()} positions{compared}, those that tokens are sampled from "
        "(kv_sharing_fast_prefill)"
    )
    return [f"{layers} {sampled}: the others were not run there, and have neither masks nor logits"]


def _in_some_layers(serving: Capture) -> list[str]:
    """What is said of layers that were observed at fewer positions than others: those of another rank of a pipeline."""
    fewer = [layer.index for layer in serving.facts.layers if f"observed.{layer.index}" in serving.tensors]
    if not fewer:
        return []
    least = min(int(serving.tensors[f"observed.{index}"].sum()) for index in fewer)
    where = f"layers {listed(fewer, 20)} were observed at {least} of {serving.observed.sum()} positions"
    return [f"{where}: in their rank of the pipeline the others ran where hooks are not called"]


def _notes(reference: Capture, serving: Capture) -> list[str]:
    notes = [*reference.facts.notes]
    if len(reference.facts.logits_at) < reference.tokens:
        compared = int(serving.answered[list(reference.facts.logits_at)].sum())
        notes.append(f"logits were compared at {compared} of {reference.tokens} positions")
    notes += _left_out(serving)
    for layer in reference.facts.layers:
        declared = reference.declared(layer.index)
        if declared is not None and (declared != reference.masks(layer.index)).any():
            notes.append(
                f"reference layer {layer.index}: the mask tensor that it declares is not the mask that was observed"
            )
    drafted, accepted = serving.prompt.drafts
    if drafted:
        notes.append(f"{accepted} of {drafted} drafts were accepted; the positions of the others were computed again")
    elif again := _again(serving.prompt.steps):
        first, last = again
        notes.append(f"positions {first} to {last} were computed again: the request was preempted and resumed")
    cached = int((~serving.computed).sum())
    if cached:
        notes.append(f"{cached} positions came from the prefix cache and were not computed")
    alone = np.flatnonzero(serving.computed & ~serving.observed).tolist()
    if alone and serving.observed.any():
        notes.append(
            f"position{'s' if len(alone) > 1 else ''} {listed(alone, 5)} ran where hooks are not called, as in a full CUDA graph: "
            "no mask was observed there, and they are judged by their logits alone"
        )
    notes += _in_some_layers(serving)
    engine = serving.facts.engine
    if engine.count > 1:
        notes.append(f"data-parallel engine {engine.number} served it, of {engine.count}")
    if engine.by_api:
        told = serving.tensors["told"].sum(axis=-1)
        notes.append(
            f"log-probabilities of {told.min()} to {told.max()} tokens at each position were compared, which the API tells; "
            "its runner, its back end and its weights are not known, and that it serves this checkpoint is what it says"
        )
    elif serving.facts.log_probabilities:
        notes.append("log-probabilities are compared, which is what the sampler gives of a prompt")
    return notes
