"""Whether a fault in any one tensor of the serving side would be seen: each is changed a little, and layouts are verified until
one shows it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np

from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.messages import ChangeableTensors, ChangeTensor, Part
from harness.drivers.running import RunningDriver
from harness.engines.vllm.options import KEPT_WEIGHTS
from harness.errors import DriverFailure, FailureKind
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification.session import Session
from harness.verification.verify import verify_batch


@dataclass(frozen=True)
class Change:
    """What became of a change of ``name``, whose ``kind`` is "tensor", "computed" (a buffer that serving fills itself) or
    "epsilon" (of a norm). Only a tensor must be seen.

    ``holds`` is the checkpoint's tensor that it was loaded from, by its values. ``seen_by`` is "masks", "logits" or "probe", or
    None if no layout showed it. ``layout`` is the one that did or, if none did, the last one; ``ratio`` is the error of its
    logits there in noise floors, None without logits. ``error`` is of a driver.
    """

    name: str
    kind: str
    holds: str | None
    seen_by: str | None
    layout: str
    ratio: float | None
    seconds: float
    error: str = ""

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Survey:
    """All changes of one model; ``before`` has the error in noise floors of each layout without any change, ``unfit`` the
    layouts that did not pass then, ``not_loaded`` the checkpoint's tensors that serving holds nowhere. ``restored`` says
    whether the first layout gave the same logits to the bit when everything was put back."""

    model: str
    setting: str
    by: float
    changes: list[Change]
    before: dict[str, float]
    unfit: list[str]
    not_loaded: list[str]
    restored: bool

    @property
    def unseen(self) -> list[Change]:
        return [
            change for change in self.changes if change.kind == "tensor" and not change.seen_by and not change.error
        ]

    @property
    def failed(self) -> list[Change]:
        return [change for change in self.changes if change.error]

    @property
    def exit_code(self) -> int:
        if self.failed or not self.restored or not self.before:
            return 3
        return int(bool(self.unseen))

    def to_dict(self) -> dict:
        return {**asdict(self), "unseen": [change.name for change in self.unseen], "exit code": self.exit_code}


@contextmanager
def kept() -> Iterator[None]:
    """Let engines that are started meanwhile keep what they load."""
    before = os.environ.get(KEPT_WEIGHTS)
    os.environ[KEPT_WEIGHTS] = "1"
    try:
        yield
    finally:
        os.environ.pop(KEPT_WEIGHTS)
        if before is not None:
            os.environ[KEPT_WEIGHTS] = before


def survey(
    session: Session,
    spec: ModelSpec,
    setting: Setting,
    layouts: Sequence[Layout],
    by: float,
    done: Callable[[Change, int], None] = lambda change, total: None,
    names: Sequence[str] = (),
    kinds: Sequence[str] = ("tensor", "computed"),
) -> Survey:
    """Change each tensor by the share ``by`` of its values, of which where one way is not seen the other way is tried, or an
    epsilon tenfold, one at a time, in an engine that was started under `kept`. ``done`` is called after each, with how many
    there are. Only those of ``kinds`` are changed, and of these only ``names`` if there are any.

    A layout that does not pass without a change is left out. What is no tensor is shown the first two only.

    Raises:
        DriverFailure: the engine could not be started, or could not say what it holds.
    """
    engine = session.engine(spec, setting)
    facts = engine.ask(ChangeableTensors(session.checkpoint(spec)), timeout=session.timeouts.start)
    plain = {layout: verify_batch(session, [layout], setting, spec)[0] for layout in layouts}
    fit = [layout for layout, result in plain.items() if result.verdict is Verdict.PASS]
    chosen = [part for part in facts.parts if part.kind in kinds and (not names or part.name in names)]
    before = _logits(session, spec, setting, fit)
    changes = []
    for part in chosen if fit else ():
        shown = fit if part.kind == "tensor" else fit[:2]
        changes.append(_changed(session, spec, setting, shown, engine, part, by))
        done(changes[-1], len(chosen))
    return Survey(
        model=spec.name,
        setting=setting.label,
        by=by,
        changes=changes,
        before={str(layout): logits.ratio for layout in fit if (logits := plain[layout].logits)},
        unfit=[str(layout) for layout in layouts if layout not in fit],
        not_loaded=list(facts.not_loaded),
        restored=_restored(session, spec, setting, fit, engine, before),
    )


def _changed(
    session: Session,
    spec: ModelSpec,
    setting: Setting,
    layouts: Sequence[Layout],
    engine: RunningDriver,
    part: Part,
    by: float,
) -> Change:
    start = time.perf_counter()
    seen, at, ratio, error = None, "", None, ""
    try:
        for share, layout in itertools.product((by, -by), layouts):
            engine.ask(ChangeTensor(part.name, share), timeout=session.timeouts.case)
            (result,) = verify_batch(session, [layout], setting, spec)
            seen, at, ratio = _how(result), result.layout, result.logits.ratio if result.logits else None
            if seen:
                break
    except DriverFailure as failure:
        seen, at, ratio, error = None, "", None, str(failure)
    return Change(**vars(part), seen_by=seen, layout=at, ratio=ratio, seconds=time.perf_counter() - start, error=error)


def _how(result: CaseResult) -> str | None:
    """By what a changed engine was told from the reference.

    Raises:
        DriverFailure: it gave no answer.
    """
    if result.verdict is Verdict.ERROR and result.error:
        if result.error.kind is not FailureKind.PROBE:
            raise result.error.raised()
        return "probe"
    if result.verdict is Verdict.PASS:
        return None
    return "masks" if result.masks_differ else "logits"


def _restored(
    session: Session,
    spec: ModelSpec,
    setting: Setting,
    layouts: Sequence[Layout],
    engine: RunningDriver,
    before: np.ndarray | None,
) -> bool:
    """Whether the engine, with everything put back, gives the logits that it gave first."""
    if not layouts or not engine.alive:
        return False
    engine.ask(ChangeTensor("", 0.0), timeout=session.timeouts.case)
    after = _logits(session, spec, setting, layouts)
    return before is not None and after is not None and np.array_equal(before, after)


def _logits(session: Session, spec: ModelSpec, setting: Setting, layouts: Sequence[Layout]) -> np.ndarray | None:
    from harness.families.registry import prompt_for

    if not layouts:
        return None
    (pair,) = session.observe(spec, setting, [prompt_for(layouts[0], spec)])
    return pair.serving.tensors["logits"]
