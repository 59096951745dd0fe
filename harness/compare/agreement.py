"""More than one reference: which sides agree, which one stands alone, and what that makes of a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from harness.captures.read import Capture
from harness.compare import diagnosis, logits
from harness.compare.against import against
from harness.compare.comparison import of_one_rank
from harness.compare.expected import masked_by
from harness.compare.known import Declared
from harness.compare.loaded import check_checkpoints
from harness.compare.masks import Difference
from harness.compare.result import (
    Agreement,
    CaseResult,
    Failure,
    FurtherLayer,
    FurtherReference,
    LogitsResult,
    encode_mask,
)
from harness.compare.verdict import Verdict
from harness.errors import FailureKind
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.references import adapter

SERVING = "serving"
Groups = list[list[str]]


@dataclass(frozen=True)
class Answer:
    """What a further reference made of the prompt; ``name`` is what it is called where it has no answer."""

    name: str
    found: Capture | Failure
    declared: Declared | None = None


@dataclass(frozen=True)
class _Side:
    """A side by its name; ``key`` is what results call it, nothing for a further reference."""

    name: str
    key: str
    capture: Capture


def name_of(capture: Capture) -> str:
    """The name and release of the reference that made a capture."""
    return " ".join(adapter.made_by(capture.facts.versions))


def with_further(
    result: CaseResult, layout: Layout, spec: ModelSpec, reference: Capture, serving: Capture, answers: Sequence[Answer]
) -> CaseResult:
    """The ``result`` of a comparison of two sides, with what further references answered. Where these agree with nobody, and it
    is not declared, a PASS is none."""
    three = _Sides(layout, spec, _Side(name_of(reference), "reference", reference), _Side(SERVING, SERVING, serving))
    further: list[FurtherReference] = []
    comparable: list[tuple[_Side, Declared | None]] = []
    for answer in answers:
        capture = answer.found
        failure = capture if isinstance(capture, Failure) else three.incomparable(capture)
        if failure is not None or isinstance(capture, Failure):
            further.append(FurtherReference(answer.name, {}, [], {}, failure))
        else:
            side = _Side(name_of(capture), "", capture)
            comparable.append((side, answer.declared))
            further.append(three.further(side))
    sides = [side for side, _ in comparable]
    found = [*three.agreement_of_masks(sides), *three.agreement_of_logits(sides, result, further)]
    verdict, words, meant = result.verdict, [one.sentence for one in found if one.sentence], None
    for side, declared in comparable:
        before_it = verdict
        verdict, said, of_this = three.verdict(verdict, side, declared, found)
        words += said
        before = "; ".join([result.diagnosis, *words])
        words += [note for note in side.capture.facts.notes if note not in before]
        meant = of_this if verdict is not before_it else meant
    for one in further:
        if one.error:
            words.append(f"{one.name} has no answer: {one.error.said}")
            if one.error.kind is not FailureKind.UNSUPPORTED and verdict.as_expected:
                verdict = Verdict.ERROR
    return replace(
        result,
        verdict=verdict,
        diagnosis="; ".join([result.diagnosis, *words]),
        further=further,
        agreement=found,
        declared=meant.to_dict() if meant else result.declared,
        error=result.error or (next(one.error for one in further if one.error) if verdict is Verdict.ERROR else None),
        seconds={**result.seconds, **_seconds(sides)},
    )


def between(first: Capture, second: Capture) -> LogitsResult:
    """The logits of a reference against the truth of another one. The floor is the larger one of their own: each rounds in its own
    way, and both are measured."""
    judged, truth = second.tensors["logits"], first.tensors["truth.logits"]
    width = min(judged.shape[-1], truth.shape[-1])
    of_the_second = truth[:, :width] + (judged - second.tensors["truth.logits"])[:, :width]
    return _judged(first, judged, [of_the_second], np.ones(first.tokens, dtype=bool))


def _judged(reference: Capture, judged: np.ndarray, more: Sequence[np.ndarray], rows: np.ndarray) -> LogitsResult:
    """Logits against the truth of a reference, of tokens that both have; its own error is the floor, with ``more`` samples."""
    found = reference.tensors
    width = min(found["truth.logits"].shape[-1], judged.shape[-1])
    routed = found["routed.logits"][:, :width] if "routed.logits" in found else None
    samples = [found["logits"][:, :width], *more]
    at = reference.facts.logits_at
    return logits.compare(found["truth.logits"][:, :width], samples, judged[:, :width], rows, at, routed)


def _seconds(sides: Iterable[_Side]) -> dict[str, float]:
    return {side.name: sum(side.capture.facts.seconds.values()) for side in sides}


@dataclass(frozen=True)
class _Sides:
    """The first reference and serving, to which further references are put."""

    layout: Layout
    spec: ModelSpec
    reference: _Side
    serving: _Side

    @property
    def blind(self) -> bool:
        """No mask of serving was observed."""
        return not self.serving.capture.observed.any()

    def rows(self, layer: int) -> np.ndarray:
        """Positions at which a layer's masks are compared, boolean (N,): those that were observed in serving, all where none
        was."""
        capture = self.serving.capture
        return np.ones(capture.tokens, dtype=bool) if self.blind else capture.rows(layer)

    @property
    def observed(self) -> list[_Side]:
        """Of serving and the first reference those whose masks were observed."""
        return [self.reference] if self.blind else [self.serving, self.reference]

    def incomparable(self, capture: Capture) -> Failure | None:
        """Why there is nothing to compare, if there is not."""
        why = ""
        if capture.prompt.token_ids != self.reference.capture.prompt.token_ids:
            why = "it was not given the same tokens"
        try:
            check_checkpoints(self.reference.capture, capture)
        except ValueError as error:
            why = str(error)
        return Failure("comparison", FailureKind.INCOMPARABLE, why) if why else None

    def further(self, side: _Side) -> FurtherReference:
        """A further reference beside both."""
        layers = []
        for facts in side.capture.facts.layers:
            index, sliding = facts.index, facts.type == "sliding_attention"
            apart = {}
            for other in reversed(self.observed):
                difference = self._difference(other, side, index)
                if not difference.equal:
                    apart[other.key] = list(difference.counts)
            own = side.capture.unpack(side.capture.masks(index)[0])
            layers.append(
                FurtherLayer(index, self._policy(side, index, sliding), int(own.sum()), apart, encode_mask(own))
            )
        versions = dict(side.capture.facts.versions)
        equal = [other for other in (self.reference, self.serving) if self._equal(other, layers)]
        return FurtherReference(side.name, versions, layers, {other.key: self._logits(other, side) for other in equal})

    def _equal(self, other: _Side, layers: Sequence[FurtherLayer]) -> bool:
        """A further reference with these layers masks as ``other`` does, and as the first reference where nobody saw that."""
        key = self.reference.key if self.blind else other.key
        return all(key not in one.apart for one in layers)

    def _difference(self, one: _Side, other: _Side, index: int) -> Difference:
        """The masks of two sides, where serving computed them."""
        rows = self.rows(index)[:, None].astype(np.uint8)
        theirs = self.reference.capture.masks(index)
        first, second = (of_one_rank(side.capture.masks(index), len(theirs)) * rows for side in (one, other))
        return Difference.of(first, second, self.reference.capture.unpack)

    def _policy(self, side: _Side, index: int, sliding: bool) -> str | None:
        mask = side.capture.unpack(side.capture.masks(index)[0])
        rows = self.rows(index) if side is self.serving else np.ones(len(mask), dtype=bool)
        backend = self.serving.capture.facts.engine.backend if side is self.serving else ""
        among = (mask, self.layout, self.spec.window, rows, backend)
        return next(diagnosis.explanations(*among, sliding=sliding), None)

    def _logits(self, other: _Side, side: _Side) -> LogitsResult:
        """Serving against a further reference, or a further reference against the first."""
        if other is self.serving and self.blind:
            return against(side.capture, other.capture, "logits")
        if other is self.serving:
            return _judged(side.capture, other.capture.tensors["logits"], [], self.serving.capture.answered)
        return between(other.capture, side.capture)

    def agreement_of_masks(self, further: Sequence[_Side]) -> list[Agreement]:
        """Layers of one type in which the same sides agree, together."""
        every = [*self.observed, *further]
        found = []
        for facts in self.reference.capture.facts.layers:
            groups: list[list[_Side]] = []
            for side in every:
                alike = next((g for g in groups if self._difference(g[0], side, facts.index).equal), None)
                if alike is None:
                    groups.append([side])
                else:
                    alike.append(side)
            sliding = facts.type == "sliding_attention"
            policies = {side.name: self._policy(side, facts.index, sliding) for side in every}
            names = [[side.name for side in group] for group in sorted(groups, key=len, reverse=True)]
            found.append((sliding, names, policies, facts.index))
        told = []
        ordered = sorted(found, key=lambda one: (not one[0], repr(one[1:3]), one[3]))
        for (sliding, names, policies), members in groupby(ordered, key=lambda one: one[:3]):
            layers = [index for *_, index in members]
            sentence = _of_masks(sliding, layers, names, policies) if len(names) > 1 else ""
            told.append(Agreement(layers, names, policies, sentence))
        if not any(one.sentence for one in told):
            whole = f"{_listed([side.name for side in every])} agree in every layer's mask"
            told[0] = replace(told[0], sentence=whole)
        return told

    def agreement_of_logits(
        self, sides: Sequence[_Side], result: CaseResult, further: Sequence[FurtherReference]
    ) -> list[Agreement]:
        """Which sides' logits are within each other's bound, of those whose masks are all equal."""
        compared = {one.name: one.logits for one in further}
        alike = [side.name for side in sides if set(compared[side.name]) == {"reference", SERVING}]
        if not alike or result.masks_differ or result.logits is None:
            return []
        every = [SERVING, self.reference.name, *alike]
        within = {frozenset(every[:2]): result.logits.within}
        for name in alike:
            within[frozenset((name, SERVING))] = compared[name][SERVING].within
            within[frozenset((name, self.reference.name))] = compared[name]["reference"].within
        groups: Groups = []
        for name in every:
            near = next((g for g in groups if any(within.get(frozenset((name, one)), False) for one in g)), None)
            if near is None:
                groups.append([name])
            else:
                near.append(name)
        groups.sort(key=len, reverse=True)
        return [Agreement([], groups, {}, _of_logits(groups))]

    def verdict(
        self, verdict: Verdict, side: _Side, declared: Declared | None, found: Sequence[Agreement]
    ) -> tuple[Verdict, list[str], Declared | None]:
        """What a verdict becomes by a further reference: one that agrees with neither of the two is a divergence like any other."""
        follows = declared is not None and self._follows(side, declared)
        alone = [one for one in found if self._alone(side, one)]
        if not alone:
            if verdict in (Verdict.PASS, Verdict.KNOWN) and declared and not follows:
                return Verdict.FIXED, [declared.gone], declared
            return verdict, [], None
        if declared and follows and all(one.layers for one in alone):
            words = [declared.met]
            return Verdict.KNOWN if verdict is Verdict.PASS else verdict, words, declared
        return Verdict.DIVERGED if verdict.as_expected or verdict is Verdict.FIXED else verdict, [], None

    def _alone(self, side: _Side, found: Agreement) -> bool:
        """It agrees neither with serving nor with the first reference."""
        own = next((group for group in found.groups if side.name in group), None)
        return own is not None and not {SERVING, self.reference.name} & set(own)

    def _follows(self, side: _Side, declared: Declared) -> bool:
        """Every layer and KV head group of a reference is as declared."""
        for facts in side.capture.facts.layers:
            sliding = facts.type == "sliding_attention"
            policy = declared.policy if sliding else declared.full_policy
            wanted = masked_by(policy, self.layout, self.spec.window, sliding=sliding)
            if not all(np.array_equal(side.capture.unpack(group), wanted) for group in side.capture.masks(facts.index)):
                return False
        return True


def _of_masks(sliding: bool, layers: list[int], groups: Groups, policies: Mapping[str, str | None]) -> str:
    kind = "sliding" if sliding else "full"
    where = f"{kind} layers {', '.join(map(str, layers))}" if len(layers) > 1 else f"{kind} layer {layers[0]}"
    policy = {name: f"`{followed}`" if followed else "no known policy" for name, followed in policies.items()}
    if odd := _odd(groups):
        return f"{where}: {odd} stands alone with {policy[odd]}; {_listed(groups[0])} agree on {policy[groups[0][0]]}"
    each = ", ".join(
        f"{_listed(group)} {'follow' if len(group) > 1 else 'follows'} {policy[group[0]]}" for group in groups
    )
    return f"{where}: {'no two agree: ' if len(groups[0]) == 1 else ''}{each}"


def _of_logits(groups: Groups) -> str:
    if len(groups) == 1:
        return f"the logits of {_listed(groups[0])} are within the noise floor of each other"
    if odd := _odd(groups):
        return f"with equal masks {odd} stands alone in its logits; those of {_listed(groups[0])} agree"
    return f"with equal masks no two agree in their logits: {_listed([name for group in groups for name in group])}"


def _odd(groups: Groups) -> str:
    """The one side that agrees with nobody, where all others agree with each other."""
    return groups[1][0] if len(groups) == 2 and len(groups[1]) == 1 < len(groups[0]) else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
