"""A prompt that is continued: the reference's own cached decode beside its one-shot forward, so that a verdict names the side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.captures.read import Capture
from harness.compare import logits
from harness.compare.result import LogitsResult
from harness.compare.verdict import Verdict

SAMPLES = ("logits", "again.logits")


@dataclass(frozen=True)
class Decode:
    """The logits of the reference's ``cached`` decode against its one-shot forward one precision up; of the prompt before the
    position ``first``, where it began, they are those of the one-shot forward. Serving's are within the bound, or not."""

    cached: LogitsResult
    serving_within: bool
    first: int

    @classmethod
    def of(cls, reference: Capture, steps: int, serving: LogitsResult) -> Decode | None:
        """None where the prompt was not continued, or no logits of the continuation were asked for."""
        theirs = reference.tensors
        own = theirs.get("cached.logits")
        if not steps or own is None or not len(own):
            return None
        at = reference.facts.logits_at
        all_rows = np.concatenate([theirs["logits"][: len(at) - len(own)], own])
        samples = [theirs[name] for name in SAMPLES if name in theirs]
        everywhere = np.ones(reference.tokens, dtype=bool)
        cached = logits.compare(theirs["truth.logits"], samples, all_rows, everywhere, at, theirs.get("routed.logits"))
        return cls(cached, serving.within, reference.tokens - steps - 1)

    @property
    def at_fault(self) -> str | None:
        """The side whose logits are not those of the one-shot forward."""
        wrong = [
            side for side, right in (("reference", self.cached.within), ("serving", self.serving_within)) if not right
        ]
        return "both" if len(wrong) > 1 else next(iter(wrong), None)

    def judged(self, verdict: Verdict, words: list[str]) -> tuple[Verdict, list[str]]:
        """The verdict, and the sentences of the diagnosis with what is to be said of the reference's cached decode: where it is
        off, the reference diverges from itself, whatever serving does."""
        if verdict is Verdict.ERROR:
            return verdict, words
        off = f"the reference's own cached decode is off its one-shot forward at position {self.cached.position_of_worst} by "
        off += f"{self.cached.ratio:.3g} times the noise floor ({logits.FACTOR:g} are allowed)"
        if not self.cached.within:
            side = "serving is not" if self.serving_within else "and serving is off too"
            return Verdict.DIVERGED, [*words, f"{off}: the reference is at fault, {side}"]
        if self.serving_within:
            return verdict, words
        said = f"the reference's own cached decode agrees with its one-shot forward from position {self.first} on"
        return verdict, [*words, f"{said}: serving is at fault"]
