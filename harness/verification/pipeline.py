"""Many batches one after another: while one is compared, in processes of their own, the next ones are served."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from harness.compare.known import Declared
from harness.compare.result import CaseResult, Failure
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import DriverFailure
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification.session import InFlight, Pair, Session
from harness.verification.verify import Batch, compared, explained, failed
from harness.verification.workers import Workers

IN_FLIGHT = 2
"""Batches that each reference driver has been asked for, so that neither side waits for the other or for a comparison."""
COMPARING = max(1, min(8, (os.cpu_count() or 1) - 2))
"""Processes that compare: the drivers keep a core each."""


class Comparing(Protocol):
    """Where captures are compared. `Workers` says what ``submit`` does."""

    def submit(self, work: Callable[..., Iterable], *arguments: Any) -> Future: ...


def in_flight(session: Session) -> int:
    """Batches that are with the drivers at the same time."""
    return IN_FLIGHT * len(session.references)


def verify_stream(
    session: Session,
    batches: Iterable[Sequence[Layout]],
    setting: Setting,
    spec: ModelSpec,
    declared: Iterable[Declared] = (),
    name: str = "generated",
    first: int = 0,
    comparing: Comparing | None = None,
) -> Iterator[list[CaseResult]]:
    """The results of each batch of layouts that are served together, in order; no two layouts have the same words and
    pictures: ``first`` is the seed of the first one's, and the others count on. A failure is the ERROR of its batch.
    Captures that were compared are removed, unless the session keeps them. ``comparing`` is where they are compared: processes
    of this stream's own, if it is not given.

    The noise floor has one sample first. A second one can only raise it: what passes without it would pass with it. Where
    masks are equal and the verdict is another, the reference is run again for both samples and the verdict made anew, when
    what is in flight has landed; so it is with masks that are declared laid over it, where they are KNOWN.
    """
    with nullcontext(comparing) if comparing else Workers(COMPARING, nullcontext) as workers:
        yield from _Stream(session, setting, spec, list(declared), workers).results(batches, name, first)


@dataclass(frozen=True)
class _Asked:
    """A batch that both sides were asked for, unless that failed already."""

    batch: Batch
    flight: InFlight | DriverFailure


@dataclass(frozen=True)
class _Landed:
    """A batch on its way from ``pairs`` of captures to results; one that failed has its results already."""

    batch: Batch
    flight: InFlight | None
    pairs: list[Pair] = field(default_factory=list)
    comparing: list[Future[CaseResult]] = field(default_factory=list)
    failed: list[CaseResult] = field(default_factory=list)


@dataclass
class _Stream:
    """Batches on their way: those that are ``asked`` are with the drivers, those that have ``landed`` are compared."""

    session: Session
    setting: Setting
    spec: ModelSpec
    declared: list[Declared]
    workers: Comparing
    asked: deque[_Asked] = field(default_factory=deque)
    landed: deque[_Landed] = field(default_factory=deque)

    def results(self, batches: Iterable[Sequence[Layout]], name: str, first: int) -> Iterator[list[CaseResult]]:
        """As `verify_stream`."""
        most, count = in_flight(self.session), first
        for layouts in batches:
            if len(self.asked) == most:
                self._land()
            self._take_off(Batch.of(layouts, self.setting, self.spec, name, self.session, self.declared, seed=count))
            count += len(layouts)
            while len(self.landed) >= most:
                yield self._next()
        while self.asked:
            self._land()
        while self.landed:
            yield self._next()

    def _take_off(self, batch: Batch) -> None:
        try:
            asked = (batch.prompts, batch.mates, batch.after)
            flight = self.session.begin(
                self.spec, self.setting, *asked, history=batch.history, remember=False, about=batch.about
            )
        except DriverFailure as error:
            self.asked.append(_Asked(batch, error))
        else:
            self.asked.append(_Asked(batch, flight))

    def _land(self) -> None:
        """Wait for the batch that took off first. Those behind it take off again where a driver died under it."""
        asked = self.asked.popleft()
        batch, flight = asked.batch, asked.flight
        if isinstance(flight, DriverFailure):
            self.landed.append(_Landed(batch, None, failed=self._failed(batch, flight)))
            return
        try:
            pairs = self.session.finish(flight)
        except DriverFailure as error:
            if not (flight.serving.driver.alive and flight.reference.driver.alive):
                behind = list(self.asked)
                self.asked.clear()
                for other in behind:
                    self._take_off(other.batch)
            self.landed.append(_Landed(batch, flight, failed=self._failed(batch, error)))
        else:
            self.landed.append(_Landed(batch, flight, pairs, self._compare(batch, pairs)))

    def _next(self) -> list[CaseResult]:
        """The results of the batch that landed first."""
        landed = self.landed.popleft()
        flight, found = landed.flight, landed.failed or self._results(landed.batch, landed.comparing)
        if flight is None:
            return found
        if any(map(_open, found)):
            pairs, again = self._sampled_again(landed.batch, flight, landed.pairs)
            landed = replace(landed, pairs=pairs)
            found = [other if _open(one) else one for one, other in zip(found, again, strict=True)]
        if any(result.known_by_masks for result in found):
            found = self._explained(landed, found)
        if any(result.known_by_logits for result in found):
            found = self._mended(landed, found)
        self.session.discard(flight)
        return found

    def _sampled_again(self, batch: Batch, flight: InFlight, pairs: list[Pair]) -> tuple[list[Pair], list[CaseResult]]:
        """The pairs and the results with both samples of the noise floor."""
        while self.asked:
            self._land()
        try:
            again = self.session.sampled_again(flight, pairs)
            return again, self._results(batch, self._compare(batch, again))
        except DriverFailure as error:
            return pairs, self._failed(batch, error)

    def _mended(self, landed: _Landed, found: list[CaseResult]) -> list[CaseResult]:
        """The results, where logits are off as declared with whether a patch mends that."""
        while self.asked:
            self._land()
        proof = landed.batch.mended(self.session, self.spec, self.setting, self.declared)
        return proof.shown(found, landed.pairs)

    def _explained(self, landed: _Landed, found: list[CaseResult]) -> list[CaseResult]:
        """The results, where masks are as declared with whether those explain the logits."""
        while self.asked:
            self._land()
        batch = landed.batch
        each = zip(batch.cases, batch.layouts, batch.prompts, landed.pairs, found, strict=True)
        alike = (self.spec, self.setting)
        return [
            explained(self.session, case, layout, *alike, prompt, pair, self.declared, result)
            if result.known_by_masks
            else result
            for case, layout, prompt, pair, result in each
        ]

    def _compare(self, batch: Batch, pairs: list[Pair]) -> list[Future[CaseResult]]:
        alike = (self.spec, self.setting)
        each = zip(batch.cases, pairs, batch.commands, strict=True)
        return [
            self.workers.submit(_compared, case, *alike, pair, self.declared, command) for case, pair, command in each
        ]

    def _results(self, batch: Batch, comparing: list[Future[CaseResult]]) -> list[CaseResult]:
        """What came of the comparisons; a worker's death is the ERROR of the layout that it was at."""
        found = []
        for case, layout, command, one in zip(batch.cases, batch.layouts, batch.commands, comparing, strict=True):
            try:
                found.append(one.result())
            except DriverFailure as error:
                failure = Failure("comparison", error.kind, str(error), error.log)
                found.append(failed(case, layout, self.spec, self.setting, command, failure, self.session.versions))
        return found

    def _failed(self, batch: Batch, error: DriverFailure) -> list[CaseResult]:
        return batch.failed(self.setting, self.spec, error, self.session, self.declared)


def _open(result: CaseResult) -> bool:
    """Whether a higher noise floor may change the verdict. A failure, declared or not, has no logits."""
    return result.logits is not None and result.verdict is not Verdict.PASS and not result.masks_differ


def _compared(
    number: int, case: Case, spec: ModelSpec, setting: Setting, pair: Pair, declared: list[Declared], reproduce: str
) -> Iterator[CaseResult]:
    yield compared(case, Layout.parse(case.layout), spec, setting, pair, declared, reproduce)
