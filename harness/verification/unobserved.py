"""Policies that are laid over the reference: where serving's masks were not observed and its logits need an explanation, and where
masks are as declared, which must explain the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.compare.known import Declared
from harness.compare.likely import Candidate, Laid, candidates, of_all_rows, unseen
from harness.compare.result import CaseResult, Failure
from harness.compare.setting import Setting
from harness.compare.surplus import Steps
from harness.compare.verdict import Verdict
from harness.families.registry import family_of
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.verification.session import Pair, Session


def tried(
    pair: Pair, layout: Layout, spec: ModelSpec, result: CaseResult, declared: Declared | None
) -> list[Candidate] | None:
    """The masks that are to be laid over the reference, if any are."""
    if wanted(pair, spec, result, declared):
        return candidates(layout, spec, pair.reference, pair.serving, declared)
    return declared_masks(layout, spec, result, declared, Steps(pair.serving.prompt.steps, len(layout))) or None


def wanted(pair: Pair, spec: ModelSpec, result: CaseResult, declared: Declared | None) -> bool:
    """Whether the logits of a case need one: they are off, or a declaration says that they are."""
    serving = pair.serving
    if result.logits is None or result.masks_differ:
        return False
    if not (serving.computed & ~serving.observed).any():
        return result.verdict is Verdict.DIVERGED and not result.logits.within and unseen(spec, serving)
    return not result.logits.within or (declared is not None and not serving.observed.any())


def declared_masks(
    layout: Layout, spec: ModelSpec, result: CaseResult, declared: Declared | None, steps: Steps
) -> list[Candidate]:
    """The masks that a KNOWN case was seen to have: those ``declared`` of serving where that is meant, else those that are
    intended. Where images that are split are declared, rows see what their ``steps`` could."""
    if not result.known_by_masks:
        return []
    if declared and result.declared == declared.to_dict():
        ends = steps.reach if declared.split else ()
        return [of_all_rows(layout, (declared.policy, declared.full_policy), ends)]
    family = family_of(spec)
    return [
        of_all_rows(layout, (family.policy("sliding", spec.bidirectional), family.policy("full", spec.bidirectional)))
    ]


def laid_over(
    session: Session,
    spec: ModelSpec,
    setting: Setting,
    prompt: Prompt,
    pair: Pair,
    every: Sequence[Candidate],
    about: str,
) -> Pair:
    """The pair with what the reference makes of the prompt under each of these masks; as it was with a reference whose masks cannot
    be forced.

    Raises:
        DriverFailure: the reference failed.
    """
    if not session.forces:
        return pair
    captures = session.forced(spec, setting, prompt, [one.forced for one in every], about=about)
    return replace(pair, laid=tuple(Laid(one, capture) for one, capture in zip(every, captures, strict=True)))


def not_tried(result: CaseResult, failure: Failure) -> CaseResult:
    """The result of a case over whose reference no masks could be laid: an ERROR where these masks are declared, since nothing says
    that they explain the logits."""
    why = f"{result.diagnosis}; no policy could be tried: {failure.said}"
    if result.known_by_masks:
        return replace(result, verdict=Verdict.ERROR, diagnosis=f"no answer: {why}", declared=None, error=failure)
    return replace(result, diagnosis=why)
