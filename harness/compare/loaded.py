"""What each side loaded: the same checkpoint, and the same weights out of it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.captures.facts import Held
from harness.captures.read import Capture
from harness.text import listed


@dataclass(frozen=True)
class Weights:
    """Names of tensors of the reference: those of which serving holds ``other`` values, those that it holds in another ``form``,
    so that there is nothing to compare, and those that were not ``found`` in its model."""

    other: list[str]
    form: list[str]
    lost: list[str]
    compared: int
    known: bool = True
    """Serving tells what it holds."""

    @classmethod
    def of(cls, reference: Capture, serving: Capture) -> Weights:
        """From the checksums that captures carry."""
        theirs, ours = (side.facts.loaded.weights for side in (reference, serving))
        both = [name for name in theirs if name in ours]
        form = [name for name in both if ours[name][1] is None or ours[name][0] != theirs[name][0]]
        comparable = [name for name in both if name not in set(form)]
        lost = [name for name in theirs if name not in ours and not _tied(name, theirs)]
        other = [name for name in comparable if ours[name] != theirs[name]]
        return cls(other, form, lost, len(comparable), known=not serving.facts.engine.by_api)

    @property
    def sentences(self) -> list[str]:
        """What makes it a divergence."""
        if not self.other:
            return []
        return [
            f"serving holds other weights than the checkpoint in {len(self.other)} of {self.compared} tensors: {listed(self.other)}"
        ]

    @property
    def notes(self) -> list[str]:
        if not self.known:
            return []
        form = [
            f"serving stores {len(self.form)} tensors in another form, which were not compared: {listed(self.form)}"
        ]
        lost = [f"{len(self.lost)} tensors were not found in serving's model and not compared: {listed(self.lost)}"]
        return form * bool(self.form) + lost * bool(self.lost)


def check_checkpoints(reference: Capture, serving: Capture) -> None:
    """Raise ValueError if the captures were made from two checkpoints."""
    theirs, ours = (side.facts.loaded.checkpoint for side in (reference, serving))
    if theirs != ours:
        raise ValueError(
            f"the reference was made from a checkpoint with the content {theirs[:16]}, serving from one with {ours[:16]}"
        )


def _tied(name: str, theirs: dict[str, Held]) -> bool:
    """The head is the table of embeddings."""
    return name == "lm_head.weight" and theirs[name] in [held for other, held in theirs.items() if other != name]
