"""What both sides do to logits: how the model's head makes them, and what is done to them after the model."""

from __future__ import annotations

from dataclasses import dataclass

from harness.captures.facts import AfterModel
from harness.captures.read import Capture
from harness.text import listed

NAMED = 8
"""Tokens that a sentence names."""
SETTINGS = {"soft_cap": "soft cap", "scale": "scale", "vocabulary": "vocabulary"}


@dataclass(frozen=True)
class Head:
    """The facts of two captures."""

    reference: Capture
    serving: Capture

    @property
    def sentences(self) -> list[str]:
        """What is done to logits after the model by one side only. What the model computes is compared without it."""
        asked, done, changed = set(self._asked.suppressed), set(self._done.suppressed), set(self._done.changed)
        source = "suppress_tokens of generation_config.json, as transformers reads it,"
        words = []
        if done - asked:
            words.append(f"after the model serving suppresses {_tokens(done - asked)}, which {source} does not ask for")
        if asked - done:
            words.append(f"after the model serving does not suppress {_tokens(asked - done)}, which {source} asks for")
        if changed:
            words.append(
                f"after the model serving changes the logits of {_tokens(changed)}, which the reference does not"
            )
        return words

    @property
    def notes(self) -> list[str]:
        """What is done by both, and what was not compared."""
        common, others = set(self._asked.suppressed) & set(self._done.suppressed), self._asked.others
        words = (
            [f"after the model both sides suppress {_tokens(common)} (suppress_tokens of generation_config.json)"]
            if common
            else []
        )
        if others:
            why = "which was not compared: it is applied while tokens are generated"
            words.append(f"generation_config.json also sets {', '.join(others)}, {why}")
        return words

    @property
    def causes(self) -> list[str]:
        """Settings of the two heads that differ, so that logits do."""
        theirs, ours = self.reference.facts.head, self.serving.facts.head
        if theirs is None or ours is None:
            return []
        values = [(said, getattr(ours, name), getattr(theirs, name)) for name, said in SETTINGS.items()]
        return [
            f"the {said} of serving's logits is {one}, the reference's {other}"
            for said, one, other in values
            if one != other
        ]

    @property
    def _asked(self) -> AfterModel:
        return self.reference.facts.after

    @property
    def _done(self) -> AfterModel:
        return self.serving.facts.after


def _tokens(tokens: set[int]) -> str:
    return f"token{'s' if len(tokens) > 1 else ''} {listed(sorted(tokens), NAMED)}"
