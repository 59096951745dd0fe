"""What a request shows, in a form that can be written down and compared."""

from __future__ import annotations

from dataclasses import dataclass

from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.errors import FailureKind


@dataclass(frozen=True)
class Wrong:
    """How the layers of one type differ: the serving policy (None if no formula explains it), the pairs that are
    missing and extra, the first pair (query, key) that differs, and runs of queries that count keys beside those that they
    attend: first, last, how many."""

    policy: str | None
    missing: int
    extra: int
    first: tuple[int, int] | None
    surplus: tuple[tuple[int, int, int], ...] = ()


REFUSED = FailureKind.PROBE.value
"""The weights of some rows are not 1/(|A| + m)."""
LOGITS = "logits"
"""What is attended to is right, what is computed from it is not."""
NOTHING: dict[str, Wrong] = {}

Shown = dict[str, Wrong] | str
"""What is wrong by the letter of the layer type (``s`` sliding, ``f`` full), or `REFUSED`, `LOGITS`, another error."""


def shown(result: CaseResult) -> Shown:
    if result.error:
        return result.error.kind.value
    wrong = {layer.type[0]: _wrong(layer) for layer in result.layers if layer.differs}
    return wrong or (NOTHING if result.verdict is Verdict.PASS else LOGITS)


def told(what: Shown) -> dict[str, tuple[str | None, bool]] | str:
    """``what`` without the figures: which fault it is taken for."""
    return (
        what
        if isinstance(what, str)
        else {letter: (wrong.policy, bool(wrong.surplus)) for letter, wrong in what.items()}
    )


def _wrong(layer) -> Wrong:
    first = layer.first_difference and (layer.first_difference["query"], layer.first_difference["key"])
    return Wrong(layer.serving_policy, layer.missing, layer.extra, first, tuple(map(tuple, layer.surplus or ())))
