"""One case from start to end: prompt, both sides, comparison, verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.captures.read import Capture
from harness.compare import processed
from harness.compare.agreement import Answer, with_further
from harness.compare.comparison import judge
from harness.compare.known import Declared
from harness.compare.result import CaseResult, Failure
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.errors import DriverFailure, FailureKind
from harness.families import decoded, sounds
from harness.families import videos as videos_of
from harness.families.registry import continued, family_of, preset, prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.references import adapter
from harness.verification import mates, one_side, unobserved
from harness.verification.mended import Mended
from harness.verification.one_side import Turn
from harness.verification.read_back import layout_of
from harness.verification.reproduce import command
from harness.verification.session import Pair, Session


def verify(
    session: Session, case: Case, setting: Setting, declared: Iterable[Declared] = (), *, spec: ModelSpec | None = None
) -> CaseResult:
    """Run one case. A driver that fails makes it ERROR, with the end of its log; bad input raises UsageError."""
    (result,) = _verified(session, [case], setting, list(declared), spec or preset(case.model))
    return result


def _verified(
    session: Session, cases: Sequence[Case], setting: Setting, declared: list[Declared], spec: ModelSpec
) -> Iterator[CaseResult]:
    """The result of each case. Where the reference is offloaded all of them are served before it is run."""
    every = [_turn(session, case, setting, spec) for case in cases]
    commands = [command(case, setting, spec, session, declared) for case in cases]
    if setting.reference.offload:
        answers = one_side.observed(session, spec, setting, [turn for _, turn in every])
    else:
        answers = (_observed(session, spec, setting, turn) for _, turn in every)
    for case, (layout, turn), reproduce, found in zip(cases, every, commands, answers, strict=True):
        if isinstance(found, Pair):
            result = compared(case, layout, spec, setting, found, declared, reproduce)
            result = explained(session, case, layout, spec, setting, turn.prompt, found, declared, result)
            company = {"mates": turn.mates, "after": turn.after, "history": turn.history, "about": turn.about}
            proof = proof_of(session, spec, setting, declared, [case], [layout], [reproduce], [turn.prompt], **company)
            yield from proof.shown([result], [found])
        else:
            known = declared_failure(found, setting, session, declared, spec)
            yield failed(case, layout, spec, setting, reproduce, Failure.of(found), session.versions, known)


def _continued(prompt: Prompt, spec: ModelSpec, setting: Setting, seed: int) -> Prompt:
    scenario = setting.scenario
    return continued(prompt, spec, scenario.decode, seed, drafter=scenario.drafter)


def _turn(session: Session, case: Case, setting: Setting, spec: ModelSpec) -> tuple[Layout | None, Turn]:
    """The layout of a case, and what both sides are asked for."""
    layout = Layout.parse(case.layout) if case.layout else None
    prompt = prompt_for(layout, spec, case.seed) if layout else text_prompt(case, spec, session.work)
    before, after = mates.prompts(setting, spec, case.seed)
    history = mates.history(setting, spec, case.seed)
    return layout, Turn(_continued(prompt, spec, setting, case.seed), before, after, history, case.name)


def _observed(session: Session, spec: ModelSpec, setting: Setting, turn: Turn) -> Pair | DriverFailure:
    try:
        (pair,) = session.observe(
            spec, setting, [turn.prompt], turn.mates, turn.after, history=turn.history, about=turn.about
        )
    except DriverFailure as failure:
        return failure
    return pair


def explained(
    session: Session,
    case: Case,
    layout: Layout | None,
    spec: ModelSpec,
    setting: Setting,
    prompt: Prompt,
    pair: Pair,
    declared: Sequence[Declared],
    result: CaseResult,
) -> CaseResult:
    """The result, where masks of serving were not observed and its logits need an explanation with the policy that gives them, and
    where masks are as declared with what else those do not explain."""
    if result.logits is None:
        return result
    whole = layout.continued(setting.scenario.decode) if layout else layout_of(pair.reference)
    every = unobserved.tried(pair, whole, spec, result, meant_policy(declared, spec, setting, pair, result))
    if every is None:
        return result
    try:
        laid = unobserved.laid_over(session, spec, setting, prompt, pair, every, case.name)
    except DriverFailure as error:
        return unobserved.not_tried(result, Failure.of(error))
    found = compared(case, layout, spec, setting, laid, declared, result.reproduce)
    session.captures.discard(*(one.reference.directory for one in laid.laid or ()))
    return found


def proof_of(
    session: Session,
    spec: ModelSpec,
    setting: Setting,
    declared: Sequence[Declared],
    cases: Sequence[Case],
    layouts: Sequence[Layout | None],
    commands: Sequence[str],
    prompts: Sequence[Prompt],
    **company: Any,
) -> Mended:
    """How what was served together is served again, and judged."""

    def serve(under: Setting) -> list[Capture]:
        return session.serve_together(spec, under, prompts, **company)

    def judged(place: int, under: Setting, pair: Pair) -> CaseResult:
        return compared(cases[place], layouts[place], spec, under, pair, declared, commands[place])

    def discard(captures: Sequence[Capture]) -> None:
        session.captures.discard(*(one.directory for one in captures))

    def meant(pair: Pair) -> Declared | None:
        return declared_logits(declared, spec, setting, pair)

    return Mended(setting, meant, serve, judged, discard)


def compared(
    case: Case,
    layout: Layout | None,
    spec: ModelSpec,
    setting: Setting,
    pair: Pair,
    declared: Sequence[Declared],
    reproduce: str,
) -> CaseResult:
    """The verdict on a pair of captures of a ``layout`` that was continued as the setting says. Of several declarations of a kind
    the first that holds is meant, of those of serving's masks the first that they follow. Captures that cannot be compared are an
    ERROR."""
    start = time.perf_counter()
    declared = list(declared)
    release, served = pair.serving.facts.versions["vllm"], _served(setting, pair)
    holds = [d for d in declared if d.holds(served, release, spec.family)]
    versions = {**pair.reference.facts.versions, **pair.serving.facts.versions}
    if layout is None and (why := processed.tokens_differ(pair.reference.prompt, pair.serving.prompt)):
        nothing = failed(
            case, layout, spec, setting, reproduce, Failure("comparison", FailureKind.INCOMPARABLE, why), versions
        )
        return replace(nothing, verdict=Verdict.DIVERGED, diagnosis=why, error=None)
    whole = layout.continued(setting.scenario.decode) if layout else None
    judged = partial(
        judge,
        case=case.name,
        title=case.title,
        layout=whole or layout_of(pair.reference),
        spec=spec,
        setting=setting,
        reference=pair.reference,
        serving=pair.serving,
        imprecise=next((d for d in holds if d.precision), None),
        aside=_declared_of(pair.reference, declared, spec),
        reproduce=reproduce,
        laid=pair.laid,
        of_cache=_declared_of(pair.reference, declared, spec, setting),
        off=declared_logits(declared, spec, setting, pair),
    )
    policies = declared_policies(declared, spec, setting, pair)
    try:
        result = judged(declared=next(iter(policies), None))
        if result.verdict is Verdict.DIVERGED:
            instead = (judged(declared=other) for other in policies[1:])
            result = next((one for one in instead if one.verdict is Verdict.KNOWN), result)
    except ValueError as error:
        failure = Failure("comparison", FailureKind.INCOMPARABLE, str(error))
        return failed(case, layout, spec, setting, reproduce, failure, versions)
    if why := processed.files_differ(pair.reference.prompt, pair.serving.prompt):
        result = replace(result, verdict=Verdict.DIVERGED, diagnosis=f"{why}; {result.diagnosis}", error=None)
    elif both := processed.taken(pair.reference.prompt, pair.serving.prompt):
        result = replace(result, diagnosis="; ".join([result.diagnosis, *both]))
    either = (d for d in declared if any(d.holds(each, release, spec.family) for each in (served, setting)))
    result = _still_failing(result, either)
    if pair.further:
        answers = [Answer(one.called, one.found, _declared_of(one.found, declared, spec)) for one in pair.further]
        result = with_further(result, whole or layout_of(pair.reference), spec, pair.reference, pair.serving, answers)
    times = {"start": pair.started, **result.seconds, "comparison": time.perf_counter() - start}
    return replace(result, seconds=times, memory=pair.reference.facts.memory)


def declared_policies(declared: Sequence[Declared], spec: ModelSpec, setting: Setting, pair: Pair) -> list[Declared]:
    """What is declared of the masks of serving: first what is there only where none could be observed, if none was."""
    if spec.bidirectional != "vision":
        return []
    release, served = pair.serving.facts.versions["vllm"], _served(setting, pair)
    holds = [d for d in declared if d.policy and d.holds(served, release, spec.family)]
    blind = not pair.serving.observed.any()
    return [d for d in sorted(holds, key=lambda d: not d.unobserved) if blind or not d.unobserved]


def meant_policy(
    declared: Sequence[Declared], spec: ModelSpec, setting: Setting, pair: Pair, result: CaseResult
) -> Declared | None:
    """That of `declared_policies` which ``result`` says, or the first."""
    policies = declared_policies(declared, spec, setting, pair)
    return next((d for d in policies if d.to_dict() == result.declared), next(iter(policies), None))


def declared_logits(declared: Iterable[Declared], spec: ModelSpec, setting: Setting, pair: Pair) -> Declared | None:
    """What is declared of logits of serving that are off, of a model that has what it is declared of."""
    release, served = pair.serving.facts.versions["vllm"], _served(setting, pair)
    return next((d for d in declared if d.logits and d.holds(served, release, spec.family) and d.of_model(spec)), None)


def _served(setting: Setting, pair: Pair) -> Setting:
    """The setting with what the engine chose."""
    engine = pair.serving.facts.engine
    return setting.with_(backend=engine.backend, runner=engine.runner)


def _still_failing(result: CaseResult, holds: Iterable[Declared]) -> CaseResult:
    """``result`` of sides that answered, or FIXED where serving was declared to fail for certain."""
    gone = next((d for d in holds if d.failure and d.certain), None)
    if gone is None or not result.verdict.as_expected:
        return result
    words = f"{gone.gone}; {result.diagnosis}"
    return replace(result, verdict=Verdict.FIXED, diagnosis=words, declared=gone.to_dict())


def _declared_of(
    reference: Capture | Failure, declared: Iterable[Declared], spec: ModelSpec, setting: Setting | None = None
) -> Declared | None:
    """The first that is declared of the reference that made this capture; with a ``setting``, of its run with the cache that is
    asked for there."""
    if isinstance(reference, Failure) or spec.bidirectional != "vision":
        return None
    made_by = adapter.made_by(reference.facts.versions)
    member = family_of(spec).member(spec)
    return next((d for d in declared if d.holds_of(*made_by, spec.family, setting, member)), None)


def declared_failure(
    error: DriverFailure, setting: Setting, session: Session, declared: Iterable[Declared], spec: ModelSpec
) -> Declared | None:
    """The declaration that this failure of the serving side is, if one holds for what was asked for."""
    setting = setting.with_(backend=setting.engine.named_on(session.platform).backend)
    ours = (d for d in declared if d.failure and d.failure in str(error) and error.stage == "serving")
    return next((d for d in ours if d.before_choosing(setting).holds(setting, session.release, spec.family)), None)


def without_answer(
    case: Case,
    setting: Setting,
    spec: ModelSpec | None,
    failure: DriverFailure,
    session: Session,
    declared: Iterable[Declared],
) -> CaseResult:
    """The ERROR of a case that was to run on the sides of ``session`` elsewhere, and did not."""
    model, layout = spec or preset(case.model), Layout.parse(case.layout) if case.layout else None
    reproduce = command(case, setting, model, session, declared)
    return failed(case, layout, model, setting, reproduce, Failure.of(failure), session.versions)


def failed(
    case: Case,
    layout: Layout | None,
    spec: ModelSpec,
    setting: Setting,
    reproduce: str,
    failure: Failure,
    versions: dict[str, str],
    known: Declared | None = None,
) -> CaseResult:
    """A case that has no answer: ERROR, or KNOWN where the failure is declared."""
    why = f"; declared: {known.reason} ({known.link})" if known else ""
    tokens = layout.tokens if layout else ()
    return CaseResult(
        case=case.name,
        title=case.title,
        layout=str(layout or case.text or "picture"),
        verdict=Verdict.KNOWN if known else Verdict.ERROR,
        diagnosis=f"no answer: {failure.said}{why}",
        tokens=[{"position": t.position, "kind": t.kind, "segment": t.segment, "name": t.name} for t in tokens],
        layers=[],
        logits=None,
        first_diverging_layer=None,
        setting={**setting.to_dict(), "label": setting.label},
        model=spec.to_dict(),
        versions=versions,
        seconds={},
        reproduce=reproduce,
        declared=known.to_dict() if known else None,
        error=failure,
    )


@dataclass(frozen=True)
class Batch:
    """Layouts that are served together: for each the case, the prompt and the command that runs it again. The scenario's own
    ``mates`` are served before them, others ``after`` them."""

    layouts: Sequence[Layout]
    cases: list[Case]
    prompts: list[Prompt]
    commands: list[str]
    history: list[Prompt]
    mates: list[Prompt]
    after: list[Prompt]

    @classmethod
    def of(
        cls,
        layouts: Sequence[Layout],
        setting: Setting,
        spec: ModelSpec,
        name: str,
        session: Session,
        declared: Iterable[Declared] = (),
        seed: int = 0,
    ) -> Batch:
        title = "served together" if len(layouts) > 1 else "generated"
        cases = [Case(name, title, str(layout), spec.name, seed=seed + index) for index, layout in enumerate(layouts)]
        prompts = [
            _continued(prompt_for(layout, spec, seed=seed + index), spec, setting, seed + index)
            for index, layout in enumerate(layouts)
        ]
        commands = []
        every = [mates.written(layout, seed + index, setting) for index, layout in enumerate(layouts)]
        before = tuple(mates.with_seed(text, seed) for text in setting.scenario.before)
        beside = mates.seeded(setting, seed + len(layouts) - 1)
        first, last = beside.scenario.mates, beside.scenario.mates_after
        for index, case in enumerate(cases):
            company = {"mates": (*first, *every[:index]), "mates_after": (*every[index + 1 :], *last)}
            alone = setting.with_(**company, before=before if index else setting.scenario.before)
            commands.append(command(case, alone, spec, session, declared))
        history = mates.history(setting, spec, seed)
        return cls(layouts, cases, prompts, commands, history, *mates.prompts(beside, spec, seed))

    @property
    def about(self) -> str:
        """What a failure says that it was about."""
        return f"{self.cases[0].name}: {' | '.join(map(str, self.layouts))}"

    def mended(self, session: Session, spec: ModelSpec, setting: Setting, declared: Sequence[Declared]) -> Mended:
        """How these layouts are served again, and judged."""
        asked = (self.cases, self.layouts, self.commands, self.prompts)
        company: dict[str, Any] = {"mates": self.mates, "after": self.after, "history": self.history}
        return proof_of(session, spec, setting, declared, *asked, about=self.about, **company)

    def failed(
        self, setting: Setting, spec: ModelSpec, error: DriverFailure, session: Session, declared: Iterable[Declared]
    ) -> list[CaseResult]:
        """The ERROR of each of them, or KNOWN where this failure is declared."""
        failure, known = Failure.of(error), declared_failure(error, setting, session, declared, spec)
        each = zip(self.cases, self.layouts, self.commands, strict=True)
        return [
            failed(case, layout, spec, setting, reproduce, failure, session.versions, known)
            for case, layout, reproduce in each
        ]


def verify_batch(
    session: Session,
    layouts: Sequence[Layout],
    setting: Setting,
    spec: ModelSpec,
    declared: Iterable[Declared] = (),
    name: str = "generated",
) -> list[CaseResult]:
    """Verify layouts that are served together in one batch. A failure is the ERROR of each of them."""
    declared = list(declared)
    batch = Batch.of(layouts, setting, spec, name, session, declared)
    try:
        asked = (batch.prompts, batch.mates, batch.after)
        pairs = session.observe(spec, setting, *asked, history=batch.history, about=batch.about)
    except DriverFailure as error:
        return batch.failed(setting, spec, error, session, declared)
    found = []
    for case, layout, prompt, pair, reproduce in zip(
        batch.cases, layouts, batch.prompts, pairs, batch.commands, strict=True
    ):
        result = compared(case, layout, spec, setting, pair, declared, reproduce)
        found.append(explained(session, case, layout, spec, setting, prompt, pair, declared, result))
    return batch.mended(session, spec, setting, declared).shown(found, pairs)


def verify_all(
    session: Session,
    cases: Iterable[tuple[Case, Setting]],
    declared: Iterable[Declared],
    done: Callable[[CaseResult], None] = lambda result: None,
    *,
    spec: ModelSpec | None = None,
) -> list[CaseResult]:
    """As `each_verified`, of all cases; ``done`` is called after each, so that nothing that is known is lost."""
    results = []
    for result in each_verified(session, cases, list(declared), spec):
        results.append(result)
        done(result)
    return results


def each_verified(
    session: Session, cases: Iterable[tuple[Case, Setting]], declared: list[Declared], spec: ModelSpec | None = None
) -> Iterator[CaseResult]:
    """The results of cases one after another, all of them on the model ``spec`` if there is one. Where the reference is offloaded
    those of one setting are served before it is run."""
    for (model, setting), group in groupby(cases, key=lambda one: (one[0].model, one[1])):
        some = (case for case, _ in group)
        if setting.reference.offload:
            yield from _verified(session, list(some), setting, declared, spec or preset(model))
        else:
            yield from (verify(session, case, setting, declared, spec=spec) for case in some)


def text_prompt(case: Case, spec: ModelSpec, work: Path) -> Prompt:
    """A prompt whose text and files go through both processors; a ``case.picture`` is drawn, and stands among words."""
    import numpy as np
    from PIL import Image

    if not case.picture:
        images = tuple(str(decoded.kept(path, work)) for path in case.images)
        videos = tuple(str(videos_of.kept(path, work)) for path in case.videos)
        clips = tuple(str(sounds.kept(path, family_of(spec).rate(spec), work)) for path in case.clips)
        return Prompt((), (), (), images=images, text=case.text, chat=case.chat, videos=videos, clips=clips)
    width, height = case.picture
    path = work / f"picture-{width}x{height}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return Prompt((), (), (), images=(str(path),), text=family_of(spec).picture_text)
