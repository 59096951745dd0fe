"""What both sides do to logits: how the model's head makes them, and what is done to them after the model."""

from __future__ import annotations

from dataclasses import dataclass

from harness.captures.capture import Capture
from harness.text import listed

NAMED = 8
"""Tokens that a sentence names."""
SETTINGS = {"soft_cap": "soft cap", "scale": "scale", "vocabulary": "vocabulary"}


@dataclass(frozen=True)
class Head:
    """The facts of two captures; where one has none, nothing is said."""

    reference: Capture
    serving: Capture

    @property
    def sentences(self) -> list[str]:
        """What is done to logits after the model by one side only. What the model computes is compared without it."""
        theirs, ours = (side.facts.get("after") for side in (self.reference, self.serving))
        if theirs is None or ours is None:
            return []
        asked, done = set(theirs["suppressed"]), set(ours["suppressed"])
        source = "suppress_tokens of generation_config.json, as transformers reads it,"
        words = []
        if done - asked:
            words.append(f"after the model serving suppresses {_tokens(done - asked)}, which {source} does not ask for")
        if asked - done:
            words.append(f"after the model serving does not suppress {_tokens(asked - done)}, which {source} asks for")
        if ours["changed"]:
            words.append(f"after the model serving changes the logits of {_tokens(set(ours['changed']))}, which the reference does not")
        return words

    @property
    def notes(self) -> list[str]:
        """What is done by both, and what was not compared."""
        theirs, ours = (side.facts.get("after") for side in (self.reference, self.serving))
        if theirs is None or ours is None:
            return []
        common = set(theirs["suppressed"]) & set(ours["suppressed"])
        words = [f"after the model both sides suppress {_tokens(common)} (suppress_tokens of generation_config.json)"] if common else []
        if theirs["others"]:
            words.append(f"generation_config.json also sets {', '.join(theirs['others'])}, which was not compared: it is applied while tokens are generated")
        return words

    @property
    def causes(self) -> list[str]:
        """Settings of the two heads that differ, so that logits do."""
        theirs, ours = (side.facts.get("head") or {} for side in (self.reference, self.serving))
        return [
            f"the {said} of serving's logits is {ours[name]}, the reference's {theirs[name]}"
            for name, said in SETTINGS.items()
            if name in theirs and name in ours and theirs[name] != ours[name]
        ]


def _tokens(tokens: set[int]) -> str:
    return f"token{'s' if len(tokens) > 1 else ''} {listed(sorted(tokens), NAMED)}"
