"""The search for generated layouts that catch a planted fault, and for the smallest of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from harness.campaigns.mutation_matrix import MutantOutcome
from harness.compare.known import Declared
from harness.compare.result import CaseResult, Failure
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.engines.registry import OVERLAYS
from harness.engines.vllm.overlays.overlay import Needs
from harness.errors import DriverFailure, FailureKind, UsageError
from harness.families.registry import causal, family_of
from harness.prompts import strategies
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.scenario import REQUEST
from harness.verification import mates, usage
from harness.verification.reproduce import known_words, quoted
from harness.verification.session import Session
from harness.verification.verify import verify_batch

CHUNK = 16
STEPS = 3
"""Tokens that a prompt is continued with where a mutant shows in decoding."""
SMALLEST_CHUNK = {"cpu": 1, "cuda": 70}
"""Where images are never split, vLLM takes no chunk that is smaller than the largest image (`encoder_cache_manager.py`,
`compute_mm_encoder_budget`): the soft tokens that the presets' processors give one. A video may have 2,496."""
DRAFTS = {"decode": 14, "speculate": 2}
"""Tokens that a prompt is continued with, and drafts at a time: some of them are accepted."""
MATE = "t2 seed=9"
SHARED = {"layers": "sfsf", "kv_shared_layers": 2, "per_layer_input": 16}
"""What layers of a model are that share keys."""
SAME, OTHER_PICTURES = "{layout}", "{other_pictures}"
"""A request that is served before a layout: with all that it has, or with the same words alone."""
NO_VIDEO = ("limit_mm_per_prompt", '{"image": 64, "video": 0}')


@dataclass(frozen=True)
class SearchSpace:
    """Where a mutant is searched for: a setting that is right without it, and layouts for it.

    ``declared`` is what the setting's own divergence is, so that only the mutant's counts. ``before`` are the requests that are
    served before each layout, whose text has the place `SAME` in them.
    """

    setting: Setting
    layouts: st.SearchStrategy[list[Layout]]
    spec: ModelSpec
    declared: tuple[Declared, ...] = ()
    before: tuple[str, ...] = ()


def search_space(
    mutant: str, spec: ModelSpec, base: Setting, declared: Sequence[Declared], platform: str
) -> SearchSpace:
    """The setting and layouts for a mutant on ``platform`` (cpu or cuda); ``base`` has the back end and dtype, ``declared`` has
    the V2 runner's own divergence, and the family's. What a file declares is heeded everywhere."""
    family = family_of(spec)
    letters, unit = family.letters(spec), family.unit(spec)
    near = strategies.threshold_layouts(
        window=spec.window, max_tokens=6 * spec.window, kinds=strategies.among("iIv", letters), unit=unit
    )
    one = near.map(lambda layout: [layout])
    v1 = base.with_(runner="v1")
    dropped = [d for d in declared if d.policy == "drop" and d.family == family.name and not d.file]
    known = (*(d for d in declared if d.file), *(d for d in dropped if "v1" in d.runners))
    match OVERLAYS[mutant].needs:
        case Needs.RANGE_GUARD:
            anywhere = (Declared(d.policy, d.link, d.reason, full_policy=d.full_policy) for d in dropped)
            return SearchSpace(base.with_(runner="v2"), one, spec, (*known, *anywhere))
        case Needs.CHUNKS:
            chunk = max(2 * spec.window, SMALLEST_CHUNK[platform])
            borders = strategies.Borders(chunk=chunk)
            images = strategies.threshold_layouts(
                window=spec.window, max_tokens=3 * chunk, kinds="iI", borders=borders, unit=unit
            )
            whole = images.filter(lambda layout: unsplit(layout, chunk))
            limits = (NO_VIDEO,) if "v" in letters else ()
            chunked = v1.with_(chunk=chunk, arguments=(*v1.engine.arguments, *limits))
            return SearchSpace(chunked, whole.map(lambda layout: [layout]), spec, known)
        case Needs.DECODE:
            return SearchSpace(v1.with_(decode=STEPS), one, spec, known)
        case Needs.CACHED:
            block = 2 * base.engine.block_size
            room = spec.max_length - 1 - block - spec.window - 2
            soft = st.integers(1, max(1, min(2 * spec.window, room // unit))).map(lambda tokens: tokens * unit)
            beginning = st.builds("i{} t{}".format, soft, st.integers(block, block + spec.window))
            cached = v1.with_(prefix_caching=True)
            return SearchSpace(cached, beginning.map(lambda text: [Layout.parse(text)]), spec, known, (OTHER_PICTURES,))
        case Needs.EVICTED:
            # A layer of each type, with as many KV heads, makes two groups of blocks, and each request takes 5 of 10: the last one
            # takes one that is kept of the first, and no more.
            block = 2 * base.engine.block_size
            long = st.integers(block + 1, block + base.engine.block_size - 1).map(
                lambda tokens: [Layout.parse(f"t{tokens}")]
            )
            small = (("num_gpu_blocks_override", "11"), ("max_model_len", str(2 * block)))
            kept = v1.with_(prefix_caching=True, arguments=(*v1.engine.arguments, *small))
            two_groups = spec.with_(layers="sf", kv_shared_layers=0, kv_heads=spec.global_kv_heads)
            return SearchSpace(kept, long, two_groups, known, (SAME, f"t{block + 6} seed=7", f"t{block + 6} seed=8"))
        case Needs.OTHER_PICTURES:
            return SearchSpace(v1, one, spec, known, (OTHER_PICTURES,))
        case Needs.LONG:
            most = min(spec.max_length - 1, max(512, 4 * spec.window + 256))
            far = strategies.long_layouts(most=most, longest=2 * spec.window, unit=unit)
            return SearchSpace(v1, far.map(lambda layout: [layout]), spec, known)
        case Needs.BATCH:
            return SearchSpace(v1, strategies.batches(near, 3), spec, known)
        case Needs.ROUNDED_KV:
            return SearchSpace(v1.with_(kv_dtype="int8_per_token_head"), one, spec, known)
        case Needs.ADAPTER:
            return SearchSpace(v1.with_(adapter=REQUEST, mates=(MATE,), decode=STEPS), one, spec, known)
        case Needs.PIPELINE:
            return SearchSpace(v1.with_(pipeline_parallel=2), one, spec, known)
        case Needs.DRAFTS:
            return SearchSpace(v1.with_(**DRAFTS), one, spec, known)
        case Needs.FAST_PREFILL:
            fast = v1.with_(arguments=(*v1.engine.arguments, ("kv_sharing_fast_prefill", "true")))
            return SearchSpace(fast, one, spec.with_(**SHARED), known)
        case Needs.SHARED_KEYS:
            return SearchSpace(v1, one, spec.with_(**SHARED), known)
        case Needs.NO_FLAG:
            return SearchSpace(v1, one, causal(spec), known)
        case Needs.NOTHING:
            return SearchSpace(v1, one, spec, known)


def unsplit(layout: Layout, chunk: int) -> bool:
    """No image is split over chunks: the CPU platform would lose its forward half (vllm #23969)."""
    return all(span.start // chunk == span.end // chunk for span in layout.spans)


def search(
    session: Session, mutant: str, spec: ModelSpec, base: Setting, declared: Sequence[Declared], examples: int
) -> tuple[MutantOutcome, list[CaseResult]]:
    """Look for layouts that catch ``mutant``, at most ``examples`` before the first catch; the results of the smallest.

    A probe that did not understand the engine is a catch; a driver that fails otherwise is the error of the search. What a
    mutant needs and this machine or release has not, as a second GPU, refuses it.
    """
    start = time.perf_counter()
    space = search_space(mutant, spec, base, declared, session.platform)
    setting = space.setting.with_(overlays=(mutant,))
    overlay = OVERLAYS[mutant]
    counter = _Counter(session, setting, space)
    refused, error = "", None
    try:
        refused = _lacking(session, setting, space.spec) or _refusal(session, setting, space)
        if not refused:
            _find(space.layouts, counter, examples)
    except DriverFailure as failure:
        error = Failure.of(failure)
    wrong = next((result for result in counter.smallest if not result.verdict.as_expected), None)
    outcome = MutantOutcome(
        mutant=mutant,
        sentence=overlay.sentence,
        setting=space.setting.label,
        caught_by=_how(wrong) if wrong else None,
        examples=counter.first or counter.count,
        layouts=[result.layout for result in counter.smallest] if wrong else [],
        diagnosis=wrong.diagnosis if wrong else "",
        equivalent=overlay.equivalent,
        seconds=time.perf_counter() - start,
        logits_alone=counter.logits_alone,
        refused=refused,
        error=error,
    )
    return outcome, counter.smallest


def told(
    outcome: MutantOutcome,
    smallest: Iterable[CaseResult],
    setting: Setting,
    spec: ModelSpec,
    declared: Iterable[Declared] = (),
) -> list[CaseResult]:
    """What a report says of a search: the results of the layouts that caught the mutant, which is as it should be unless it is
    argued to be equivalent; of any other end one result, which has no layers."""
    if outcome.caught_by and not outcome.error:
        end = Verdict.CAUGHT if outcome.right else None
        return [r if r.verdict.as_expected else replace(r, verdict=end or r.verdict) for r in smallest]
    if outcome.error:
        verdict, why = Verdict.ERROR, f"no answer: {outcome.error.message}"
    elif outcome.right:
        verdict, why = (
            Verdict.KNOWN,
            f"refused: {outcome.refused}" if outcome.refused else f"equivalent: {outcome.equivalent}",
        )
    else:
        verdict, why = Verdict.SURVIVED, f"not seen in {outcome.examples} examples"
    files = "".join(f" {quoted(word)}" for word in known_words(one for one in declared if one.file))
    return [
        CaseResult(
            case=outcome.mutant,
            title=outcome.sentence,
            layout="",
            verdict=verdict,
            diagnosis=why,
            tokens=[],
            layers=[],
            logits=None,
            first_diverging_layer=None,
            setting={**setting.to_dict(), "label": outcome.setting or setting.label},
            model=spec.to_dict(),
            versions={},
            seconds={"search": outcome.seconds},
            reproduce=f"harness mutants --only {outcome.mutant} --model {spec.name} --window {spec.window} "
            f"--backend {setting.engine.backend} --dtype {setting.engine.dtype}{files}",
            error=outcome.error,
        )
    ]


def lost(mutant: str, setting: Setting, failure: DriverFailure) -> MutantOutcome:
    """The outcome where the process that searched died."""
    overlay = OVERLAYS[mutant]
    return MutantOutcome(
        mutant, overlay.sentence, setting.label, None, 0, [], "", overlay.equivalent, 0.0, error=Failure.of(failure)
    )


def _lacking(session: Session, setting: Setting, spec: ModelSpec) -> str:
    """What of a search's ``setting`` this machine or these releases do not have."""
    try:
        usage.check(setting, spec, session.serving_python, session.reference_python)
    except UsageError as error:
        return str(error)
    return ""


def _refusal(session: Session, setting: Setting, space: SearchSpace) -> str:
    """What the release has against the overlays of ``setting``, where it serves without them."""
    session.engine(space.spec, space.setting)
    try:
        session.engine(space.spec, setting)
    except DriverFailure as failure:
        if failure.kind is not FailureKind.REFUSED:
            raise
        return str(failure)
    return ""


def _find(layouts: st.SearchStrategy[list[Layout]], counter: _Counter, examples: int) -> None:
    """Let hypothesis look for the smallest layouts that are caught."""
    with suppress(NoSuchExample):
        find(
            layouts,
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


class _Counter:
    """Runs layouts, each once: an engine with a fault remembers earlier requests, so that the same layouts may pass the next
    time, which hypothesis would take for an unreliable test."""

    def __init__(self, session: Session, setting: Setting, space: SearchSpace):
        self.session, self.setting, self.space = session, setting, space
        self.count = 0
        self.first = 0
        self.logits_alone = False
        self.smallest: list[CaseResult] = []
        self.seen: dict[tuple[Layout, ...], list[CaseResult]] = {}

    def caught(self, layouts: list[Layout]) -> bool:
        key = tuple(layouts)
        if key not in self.seen:
            self.seen[key] = self._catch(layouts)
        self.smallest = self.seen[key] or self.smallest
        return bool(self.seen[key])

    def _catch(self, layouts: list[Layout]) -> list[CaseResult]:
        """The results where one of them is not as expected, else none."""
        self.count += 1
        before = tuple(
            one.format(layout=layout, other_pictures=mates.with_other_pictures(layout))
            for layout in layouts
            for one in self.space.before
        )
        setting, space = self.setting.with_(before=before), self.space
        results = verify_batch(self.session, layouts, setting, space.spec, space.declared, setting.overlays[0])
        for result in results:
            if result.verdict is Verdict.ERROR and result.error and result.error.kind is not FailureKind.PROBE:
                raise result.error.raised()
            self.logits_alone |= result.logits is not None and not result.logits.within
        found = any(not result.verdict.as_expected for result in results)
        if found:
            self.first = self.first or self.count
        return results if found else []


def _how(result: CaseResult) -> str:
    if result.verdict is Verdict.ERROR:
        return "probe"
    return "masks" if result.verdict is Verdict.FIXED or result.masks_differ else "logits"
