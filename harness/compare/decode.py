"""The reference's own run with a cache beside its one-shot forward, so that a verdict names the side that is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby

import numpy as np

from harness.captures.facts import LayerFacts
from harness.captures.read import Capture
from harness.compare import diagnosis, logits, surplus
from harness.compare.expected import expected
from harness.compare.known import Declared
from harness.compare.masks import Difference
from harness.compare.result import LogitsResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import family_of
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.references.options import NO_CACHE

SAMPLES = ("logits", "again.logits")
Meaning = tuple[Verdict, list[str], Declared | None]
"""The verdict, the sentences of the diagnosis, and the declaration that is meant."""


@dataclass(frozen=True)
class Decode:
    """The logits of the reference's ``cached`` run against its one-shot forward one precision up; of the prompt before the
    position ``first``, where that began, they are those of the one-shot forward. Serving's are within the bound, or not. ``called``
    is what the run is called, ``apart`` are sentences on the layers whose masks are others with the cache. What is ``declared`` of
    it either ``follows`` or, as far as it could be seen here, is ``gone``."""

    cached: LogitsResult
    serving_within: bool
    first: int
    called: str = "cached decode"
    apart: tuple[str, ...] = ()
    declared: Declared | None = None
    follows: bool = False
    gone: bool = False

    @classmethod
    def of(
        cls,
        reference: Capture,
        layout: Layout,
        spec: ModelSpec,
        setting: Setting,
        serving: LogitsResult,
        declared: Declared | None = None,
    ) -> Decode | None:
        """None where the prompt was not continued, or no logits of the continuation were asked for, and no cache was."""
        theirs, steps = reference.tensors, setting.scenario.decode
        own = theirs.get("cached.logits")
        whole = setting.reference.reference_cache != NO_CACHE
        if own is None or not len(own) or not (steps or whole):
            return None
        at = reference.facts.logits_at
        all_rows = np.concatenate([theirs["logits"][: len(at) - len(own)], own])
        samples = [theirs[name] for name in SAMPLES if name in theirs]
        everywhere = np.ones(reference.tokens, dtype=bool)
        cached = logits.compare(theirs["truth.logits"], samples, all_rows, everywhere, at, theirs.get("routed.logits"))
        if not whole:
            return cls(cached, serving.within, reference.tokens - steps - 1)
        masks = _Masks(reference, layout, spec, setting.reference.prefill_chunk_size, reference.tokens - steps)
        follows = declared is not None and masks.follow(declared)
        gone = declared is not None and not follows and not masks.apart
        of_masks = tuple(masks.sentences)
        return cls(cached, serving.within, 0, _called(setting), of_masks, declared, follows and bool(of_masks), gone)

    @property
    def right(self) -> bool:
        """The run with the cache is that without one."""
        return self.cached.within and not self.apart

    @property
    def at_fault(self) -> str | None:
        """The side whose logits are not those of the one-shot forward, or a reference that masks otherwise with a cache."""
        wrong = [side for side, right in (("reference", self.right), ("serving", self.serving_within)) if not right]
        return "both" if len(wrong) > 1 else next(iter(wrong), None)

    def judged(
        self, verdict: Verdict, words: list[str], meant: Declared | None, of_masks: str | None = None
    ) -> Meaning:
        """The verdict, and the sentences of the diagnosis with what is to be said of the reference's run with a cache: where it is
        off, the reference diverges from itself, whatever serving does. Masks may say ``of_masks`` which side is at fault."""
        if verdict is Verdict.ERROR:
            return verdict, words, meant
        if not self.right:
            side = "serving is not" if self.serving_within else "and serving is off too"
            said = [*words, *self._off, f"the reference is at fault, {side}"]
            numbers = not self.cached.not_finite.get("serving")
            if self.declared and self.follows and numbers and verdict.as_expected:
                return Verdict.KNOWN, [*said, self.declared.met], meant if verdict is Verdict.KNOWN else self.declared
            return Verdict.DIVERGED, said, meant
        if self.declared and self.gone and verdict.as_expected:
            return Verdict.FIXED, [*words, self.declared.gone], self.declared
        if self.serving_within:
            agrees = f"the reference's own {self.called} agrees with its one-shot forward"
            return verdict, [*words, *([] if self.called == "cached decode" else [agrees])], meant
        said_of_it = f"the reference's own {self.called} agrees with its one-shot forward from position {self.first} on"
        blamed = "" if of_masks == "reference" else ": serving is at fault"
        return verdict, [*words, f"{said_of_it}{blamed}"], meant

    @property
    def _off(self) -> Iterator[str]:
        yield from (f"the reference's own {self.called}: {sentence}" for sentence in self.apart)
        if not self.cached.within:
            yield (
                f"the reference's own {self.called} is off its one-shot forward at position {self.cached.position_of_worst} by "
                f"{self.cached.ratio:.3g} times the noise floor ({logits.FACTOR:g} are allowed)"
            )


def _called(setting: Setting) -> str:
    chunk = setting.reference.prefill_chunk_size
    chunked = f", in chunks of {chunk} tokens" if chunk else ""
    return f"run with a {setting.reference.reference_cache} cache{chunked}"


@dataclass(frozen=True)
class _Masks:
    """The masks of a reference without a cache and with one, which computes a ``prompt`` of so many tokens ``chunk`` by chunk."""

    reference: Capture
    layout: Layout
    spec: ModelSpec
    chunk: int | None
    prompt: int

    @cached_property
    def apart(self) -> list[tuple[LayerFacts, Difference]]:
        """The layers whose masks are not the same."""
        every = ((layer, self._difference(layer)) for layer in self.reference.facts.layers)
        return [(layer, difference) for layer, difference in every if not difference.equal]

    def _difference(self, layer: LayerFacts) -> Difference:
        cached = self.reference.tensors[f"cached.mask.{layer.index}"]
        return Difference.of(self.reference.masks(layer.index), cached, self.reference.unpack)

    def follow(self, declared: Declared) -> bool:
        """All masks of the run with a cache are as declared."""
        return all(
            np.array_equal(group, expected(declared, self.layout, self.spec.window, sliding=_sliding(layer)))
            for layer in self.reference.facts.layers
            for group in self.reference.unpack(self.reference.tensors[f"cached.mask.{layer.index}"])
        )

    @property
    def sentences(self) -> Iterator[str]:
        """One for the layers that differ in the same way."""

        def alike(pair: tuple[LayerFacts, Difference]) -> tuple:
            layer, difference = pair
            return layer.type, *self._policies(layer, difference), *difference.counts

        ordered = sorted(self.apart, key=lambda pair: (*alike(pair), pair[0].index))
        for (kind, with_cache, without, missing, extra), group in groupby(ordered, key=alike):
            indices = [layer.index for layer, _ in group]
            several = len(indices) > 1
            where = f"{kind.removesuffix('_attention')} layer{'s' if several else ''} {', '.join(map(str, indices))}"
            mask = f"{'mask' if several else 'masks'} by {with_cache}, without a cache by {without}"
            yield f"{where} {mask} ({missing} pairs missing, {extra} extra)"

    def _policies(self, layer: LayerFacts, difference: Difference) -> tuple[str, str]:
        """What explains the mask with the cache and the one without."""
        rows = np.ones(self.reference.tokens, dtype=bool)

        def names(mask: np.ndarray, visible: np.ndarray | None = None) -> Iterator[str]:
            among = (mask, self.layout, self.spec.window, rows, "")
            family = family_of(self.spec)
            yield from diagnosis.explanations(*among, sliding=_sliding(layer), family=family, visible=visible)

        def name(mask: np.ndarray) -> str:
            cut = map(surplus.cut, names(mask, self._visible)) if self.chunk else ()
            found = next(chain(names(mask), cut), None)
            return f"`{found}`" if found else "no known policy"

        return name(difference.serving[difference.group]), name(difference.reference[difference.group])

    @property
    def _visible(self) -> np.ndarray:
        """Which keys were computed by the end of each query's chunk, boolean (N, N)."""
        size = self.chunk or self.prompt
        steps = [[first, min(first + size, self.prompt) - 1] for first in range(0, self.prompt, size)]
        return surplus.Steps(steps, self.reference.tokens).visible


def _sliding(layer: LayerFacts) -> bool:
    return layer.type == "sliding_attention"
