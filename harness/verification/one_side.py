"""One side at a time: the engine serves and ends, then the reference is run, so that neither shares memory with the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.compare.setting import Setting
from harness.drivers.messages import ReferenceModel, Stored
from harness.errors import DriverFailure
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.verification.capture_store import read
from harness.verification.reference_pool import reference_model
from harness.verification.session import Pair, Session

TOGETHER = 8192
"""Tokens of prompts that go through the reference in one pass over its checkpoint: what is observed of all is held at once."""


@dataclass(frozen=True)
class Turn:
    """A prompt and what is served with it, as `Session.observe` takes them."""

    prompt: Prompt
    mates: Sequence[Prompt] = ()
    after: Sequence[Prompt] = ()
    history: Sequence[Prompt] = ()
    about: str = ""


Found = Stored | DriverFailure


def observed(
    session: Session, spec: ModelSpec, setting: Setting, turns: Sequence[Turn]
) -> Iterator[Pair | DriverFailure]:
    """What both sides make of each turn, in their order: first all of them are served, then the reference is run. A failure of
    either side is the answer to the turns that it hit."""
    try:
        checkpoint = session.checkpoint(spec)
    except DriverFailure as error:
        yield from [error] * len(turns)
        return
    session.references.close()  # it takes memory, also when it has but built the checkpoint
    served = [_served(session, spec, setting, turn) for turn in turns]
    session.engines.close()
    model = reference_model(checkpoint, setting)
    for together in _together(turns, served):
        failure = served[together[0]]
        if isinstance(failure, DriverFailure):
            yield failure
            continue
        referred = _referred(session, model, setting, [turns[place] for place in together])
        for place, reference in zip(together, referred, strict=True):
            yield _pair(reference, served[place])


def _served(session: Session, spec: ModelSpec, setting: Setting, turn: Turn) -> Found:
    session.told(f"serving {turn.about}")
    try:
        engine = session.engine(spec, setting)
        asked = session.to_serve(spec, setting, (turn.prompt,), turn.mates, turn.after, turn.history)
        with session.engines.dropping(engine):
            return engine.ask(asked, timeout=session.timeouts.case, about=turn.about).captures[0]
    except DriverFailure as failure:
        return failure


def _together(turns: Sequence[Turn], served: Sequence[Found]) -> Iterator[list[int]]:
    """The places of turns, in their order, that the reference is run for together; one that was not served is alone, since it is
    not run for that, and so is a text, whose length its processor decides."""
    part: list[int] = []
    taken = 0
    for place, turn in enumerate(turns):
        length = len(turn.prompt.token_ids) or TOGETHER
        alone = isinstance(served[place], DriverFailure)
        if part and (alone or taken + length > TOGETHER):
            yield part
            part, taken = [], 0
        part.append(place)
        taken += TOGETHER if alone else length
    if part:
        yield part


def _referred(session: Session, model: ReferenceModel, setting: Setting, turns: Sequence[Turn]) -> list[Found]:
    """What the reference makes of the turns' prompts, in one pass; where that fails, of one after another."""
    keys, known, new = session.new(model, setting, [turn.prompt for turn in turns], remember=True)
    found: dict = {**known}
    if new:
        try:
            driver = session.references.ready(model, in_turn=False, told=session.told)
            asked = session.to_refer(model, setting, tuple(new.values()), samples=2)
            about = " | ".join(turn.about for turn in turns)
            answer = driver.ask(asked, timeout=session.timeouts.case, about=about, told=session.told)
        except DriverFailure as failure:
            if len(turns) > 1:
                return [one for turn in turns for one in _referred(session, model, setting, [turn])]
            return [failure]
        captured = dict(zip(new, answer.captures, strict=True))
        session.captures.remember(captured)
        found |= captured
    return [found[key] for key in keys]


def _pair(reference: Found, served: Found) -> Pair | DriverFailure:
    if isinstance(served, DriverFailure):
        return served
    if isinstance(reference, DriverFailure):
        return reference
    return Pair(read(reference), read(served), 0.0)
