"""Policies that are laid over the reference where serving's masks were not observed and its logits need an explanation."""

from __future__ import annotations

from dataclasses import replace

from harness.compare.known import Declared
from harness.compare.likely import Laid, candidates
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.verification.session import Pair, Session


def wanted(pair: Pair, result: CaseResult, declared: Declared | None) -> bool:
    """Whether the logits of a case need one: they are off, or a declaration says that they are."""
    serving = pair.serving
    if result.logits is None or result.masks_differ or not (serving.computed & ~serving.observed).any():
        return False
    return not result.logits.within or (declared is not None and not serving.observed.any())


def laid_over(
    session: Session,
    spec: ModelSpec,
    setting: Setting,
    prompt: Prompt,
    layout: Layout,
    pair: Pair,
    declared: Declared | None,
    about: str,
) -> Pair:
    """The pair with what the reference makes of the prompt under each mask that a known policy gives and that is not its own; as
    it was with a reference whose masks cannot be forced.

    Raises:
        DriverFailure: the reference failed.
    """
    if not session.forces:
        return pair
    every = candidates(layout, spec, pair.reference, pair.serving, declared)
    captures = session.forced(spec, setting, prompt, [one.forced for one in every], about=about)
    return replace(pair, laid=tuple(Laid(one, capture) for one, capture in zip(every, captures, strict=True)))
