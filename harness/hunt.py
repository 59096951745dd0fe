"""Hunting a planted fault with generated layouts, and shrinking what caught it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from harness import strategies
from harness.case import Declared
from harness.checkpoint.spec import ModelSpec
from harness.compare.result import CaseResult, Verdict
from harness.layout import Layout
from harness.overlays import OVERLAYS
from harness.session import Session
from harness.setting import Setting
from harness.verify import verify_batch

AS_EXPECTED = (Verdict.PASS, Verdict.KNOWN)
CHUNK = 16


@dataclass(frozen=True)
class Ground:
    """Where a mutant is let loose: a setting that is right without it, and layouts for it.

    ``declared`` is what the setting's own divergence is, so that only the mutant's counts.
    """

    setting: Setting
    layouts: st.SearchStrategy[list[Layout]]
    declared: tuple[Declared, ...] = ()


@dataclass(frozen=True)
class Kill:
    """The end of a hunt: ``caught_by`` is "masks", "logits", "probe" or None; ``examples`` until the first catch."""

    mutant: str
    sentence: str
    setting: str
    caught_by: str | None
    examples: int
    layouts: list[str]
    diagnosis: str
    equivalent: str
    seconds: float

    @property
    def right(self) -> bool:
        """Caught, or argued to be equivalent and not caught."""
        return (self.caught_by is None) == bool(self.equivalent)

    def to_dict(self) -> dict:
        return {**asdict(self), "right": self.right}


def ground(mutant: str, spec: ModelSpec, drop: Declared) -> Ground:
    """The setting and layouts for a mutant; ``drop`` is the declared divergence of the V2 runner."""
    near = strategies.threshold_layouts(window=spec.window, max_tokens=48)
    one = near.map(lambda layout: [layout])
    if mutant.startswith("guard-"):
        anything = Declared(drop.policy, drop.link, drop.reason)
        return Ground(Setting(runner="v2"), one, (anything,))
    if mutant in ("ranges-shifted-by-context", "query-index-local-to-chunk"):
        return Ground(Setting(runner="v1", chunk=CHUNK), one.filter(lambda layouts: unsplit(layouts[0], CHUNK)))
    if mutant == "ranges-of-another-request":
        return Ground(Setting(runner="v1"), strategies.batches(near, 3))
    return Ground(Setting(runner="v1"), one)


def unsplit(layout: Layout, chunk: int) -> bool:
    """No image is split over chunks: the CPU platform would lose its forward half (vllm #23969)."""
    return all(span.start // chunk == span.end // chunk for span in layout.spans)


def hunt(session: Session, mutant: str, spec: ModelSpec, drop: Declared, examples: int) -> tuple[Kill, list[CaseResult]]:
    """Look for layouts that catch ``mutant``, at most ``examples`` before the first catch; the results of the smallest."""
    start = time.perf_counter()
    place = ground(mutant, spec, drop)
    setting = place.setting.with_(overlays=(mutant,))
    counter = _Counter(session, setting, spec, place.declared)
    try:
        find(
            place.layouts,
            counter.caught,
            settings=settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        pass
    wrong = next((result for result in counter.smallest if result.verdict not in AS_EXPECTED), None)
    kill = Kill(
        mutant=mutant,
        sentence=OVERLAYS[mutant].sentence,
        setting=place.setting.label,
        caught_by=_how(wrong) if wrong else None,
        examples=counter.first or counter.count,
        layouts=[result.layout for result in counter.smallest] if wrong else [],
        diagnosis=wrong.diagnosis if wrong else "",
        equivalent=OVERLAYS[mutant].equivalent,
        seconds=time.perf_counter() - start,
    )
    return kill, counter.smallest


class _Counter:
    def __init__(self, session: Session, setting: Setting, spec: ModelSpec, declared: Iterable[Declared]):
        self.ask = lambda layouts: verify_batch(session, layouts, setting, spec, declared, setting.overlays[0])
        self.count = 0
        self.first = 0
        self.smallest: list[CaseResult] = []

    def caught(self, layouts: list[Layout]) -> bool:
        self.count += 1
        results = self.ask(layouts)
        found = any(result.verdict not in AS_EXPECTED for result in results)
        if found:
            self.first = self.first or self.count
            self.smallest = results
        return found


def _how(result: CaseResult) -> str:
    if result.verdict is Verdict.ERROR:
        return "probe" if result.error["stage"] == "ProbeError" else "error"
    return "masks" if result.verdict is Verdict.FIXED or any(x.missing or x.extra for x in result.layers) else "logits"
