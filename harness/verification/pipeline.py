"""Many batches one after another: while one is compared, in processes of their own, the next ones are served."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import NamedTuple

from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import DriverFailure
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification.session import InFlight, Pair, Session
from harness.verification.verify import Batch, compared, failed
from harness.verification.workers import Workers

IN_FLIGHT = 2
"""Batches that each reference driver has been asked for, so that neither side waits for the other or for a comparison."""
COMPARING = max(1, min(8, (os.cpu_count() or 1) - 2))
"""Processes that compare: the drivers keep a core each."""


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
) -> Iterator[list[CaseResult]]:
    """The results of each batch of layouts that are served together, in order; no two layouts have the same words and
    pictures: ``first`` is the seed of the first one's, and the others count on. A failure is the ERROR of its batch.
    Captures that were compared are removed, unless the session keeps them.

    The noise floor has one sample first. A second one can only raise it: what passes without it would pass with it. Where
    masks are equal and the verdict is another, the reference is run again for both samples and the verdict made anew, when
    what is in flight has landed.
    """
    declared = list(declared)
    most = in_flight(session)
    flying: deque[tuple[Batch, InFlight | DriverFailure]] = deque()
    comparing: deque[_Comparing] = deque()

    def take_off(batch: Batch) -> None:
        try:
            flying.append((batch, session.begin(spec, setting, batch.prompts, remember=False, about=batch.about)))
        except DriverFailure as error:
            flying.append((batch, error))

    def land() -> None:
        batch, flight = flying.popleft()
        failure = flight if isinstance(flight, DriverFailure) else None
        try:
            pairs = [] if failure else session.finish(flight)
        except DriverFailure as error:
            failure = error
            if not flight.engine.alive or not flight.reference.alive:
                others = [other for other, _ in flying]
                flying.clear()
                for other in others:
                    take_off(other)
        if failure:
            found = batch.failed(setting, spec, failure, session, declared)
            comparing.append(_Comparing(batch, None if flight is failure else flight, [], found))
        else:
            comparing.append(_Comparing(batch, flight, pairs, compare(batch, pairs)))

    def compare(batch: Batch, pairs: list[Pair]) -> list[Future[CaseResult]]:
        each = zip(batch.cases, pairs, batch.commands, strict=True)
        return [workers.submit(_compared, case, spec, setting, pair, declared, command) for case, pair, command in each]

    def landed(batch: Batch, waiting: list[Future[CaseResult]]) -> list[CaseResult]:
        each = zip(batch.cases, batch.layouts, batch.commands, waiting, strict=True)
        return [_result(case, layout, spec, setting, command, session.versions, one) for case, layout, command, one in each]

    def results() -> list[CaseResult]:
        batch, flight, pairs, waiting = comparing.popleft()
        found = landed(batch, waiting) if pairs else waiting
        if any(map(_open, found)):
            while flying:
                land()
            try:
                both = landed(batch, compare(batch, session.sampled_again(spec, setting, flight, pairs)))
            except DriverFailure as error:
                both = batch.failed(setting, spec, error, session, declared)
            found = [again if _open(one) else one for one, again in zip(found, both, strict=True)]
        if flight:
            session.discard(flight)
        return found

    with Workers(COMPARING, nullcontext) as workers:
        count = first
        for layouts in batches:
            if len(flying) == most:
                land()
            batch = Batch.of(layouts, setting, spec, name, session, declared, seed=count)
            count += len(layouts)
            take_off(batch)
            while len(comparing) >= most:
                yield results()
        while flying:
            land()
        while comparing:
            yield results()


class _Comparing(NamedTuple):
    """A batch on its way from captures to results; one that failed has them already."""

    batch: Batch
    flight: InFlight | None
    pairs: list[Pair]
    results: list[Future[CaseResult]] | list[CaseResult]


def _open(result: CaseResult) -> bool:
    """Whether a higher noise floor may change the verdict. A failure, declared or not, has no logits."""
    return result.logits is not None and result.verdict is not Verdict.PASS and not result.masks_differ


def _compared(
    number: int, case: Case, spec: ModelSpec, setting: Setting, pair: Pair, declared: list[Declared], reproduce: str
) -> Iterator[CaseResult]:
    yield compared(case, Layout.parse(case.layout), spec, setting, pair, declared, reproduce)


def _result(
    case: Case, layout: Layout, spec: ModelSpec, setting: Setting, reproduce: str, versions: dict[str, str], waiting: Future[CaseResult]
) -> CaseResult:
    """What came of a comparison; the worker's death is the ERROR of that one."""
    try:
        return waiting.result()
    except DriverFailure as error:
        return failed(case, layout, spec, setting, reproduce, "comparison", str(error), error.log, versions)
