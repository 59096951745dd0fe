"""Where a side changed: its releases, or the commits of its source tree, halved until one is left.

What is compared is what each point shows, its mask policies or its verdict, and not whether that is right: a change from a wrong
policy to another one is found too. A point that gives no answer is skipped. Between two points that show the same nothing is
looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.compare.result import CaseResult
from harness.verification.environments.line import Line


class Criterion(StrEnum):
    policy = "policy"
    verdict = "verdict"


class Layers(StrEnum):
    all = "all"
    sliding = "sliding"
    full = "full"


@dataclass(frozen=True)
class Shown:
    """What one ``point`` shows; None where it gives no answer, and then ``why``."""

    point: str
    shows: str | None
    verdict: str
    why: str
    reproduce: str
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, point: str, result: CaseResult, side: str, criterion: Criterion, layers: Layers, seconds: float
    ) -> Shown:
        """What a side's result shows of it."""
        about = (str(result.verdict), result.error.message if result.error else "", result.reproduce)
        shows = str(result.verdict) if criterion is Criterion.verdict else policies(result, side, layers)
        return cls(point, None if result.error else shows, *about, round(seconds, 1), result.versions)


@dataclass(frozen=True)
class Changed:
    """A change: ``before`` is what the last point showed that was as the first one, ``last``, and ``after`` what ``first`` showed,
    the first that was not; where points between them were ``skipped``, one of those may be the first."""

    before: str
    last: str
    after: str
    first: str
    skipped: tuple[str, ...] = ()


def changes_of(points: Line, look: Callable[[str], Shown], known: Mapping[str, Shown]) -> Iterator[Shown | Changed]:
    """Each point as it is looked at, and each change when it is found, from the good end to the bad one; what is ``known`` is not
    looked at again. It ends early where an end gives no answer."""
    shown, good, bad = dict(known), points.good, points.bad
    for end in (good, bad):
        if end not in shown:
            shown[end] = look(end)
            yield shown[end]
        if shown[end].shows is None:
            return
    while (before := shown[good].shows) != shown[bad].shows:
        assert before is not None, "an end without an answer has ended it"
        alike, other = [good], bad
        while among := points.between(alike, other):
            left = [point for point in among if point not in shown or shown[point].shows is not None]
            if not left:
                break
            lost = len(among) - len(left)
            point = next((point for point in left if point in shown), left[int(_halved(lost) * len(left))])
            if point not in shown:
                shown[point] = look(point)
                yield shown[point]
            if shown[point].shows == before:
                alike.append(point)
            elif shown[point].shows is not None:
                other = point
        after = shown[other].shows
        assert after is not None, "a point without an answer is skipped"
        yield Changed(before, alike[-1], after, other, tuple(points.between(alike, other)))
        good = other


def _halved(number: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, 5/8 and so on: where to look on after so many points without an answer, since those beside them often
    have none either (van der Corput)."""
    return sum((number >> bit & 1) / (2 << bit) for bit in range(number.bit_length()))


def policies(result: CaseResult, side: str, layers: Layers) -> str:
    """What a side's layers follow, by type, and what serves where it is that side's own choice. A mask that no formula explains
    is told from another one by its pairs."""
    found: dict[str, dict[str, None]] = {}
    for layer in result.layers:
        kind = layer.type.removesuffix("_attention")
        if layers is Layers.all or layers.value == kind:
            policy = getattr(layer, f"{side}_policy") or f"no known policy, {getattr(layer, f'{side}_pairs')} pairs"
            found.setdefault(kind, {})[policy] = None
    said = ", ".join(f"{kind} {' and '.join(policy)}" for kind, policy in found.items())
    runner = result.setting.get("engine runner", "")
    asked = result.setting.get("runner")
    return f"{said}, served by {runner}" if side == "serving" and asked == "auto" and runner else said
