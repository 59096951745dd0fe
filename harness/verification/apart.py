"""Both sides asked apart: what one has computed is compared with whatever the other computes later.

All read one checkpoint, which the first reference writes. A side that fails is the ERROR of its pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from harness.captures.read import Capture
from harness.compare.known import Declared
from harness.compare.result import CaseResult, Failure
from harness.compare.setting import Setting
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure, EnvironmentFailure, FailureKind, UsageError
from harness.families.registry import prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.verification.interpreters import Asking, Interpreters, Sides
from harness.verification.reproduce import command
from harness.verification.session import Pair, Session
from harness.verification.verify import compared, failed


@dataclass(frozen=True)
class Named:
    """A side: how a command names it, and its interpreter."""

    text: str
    python: str


@dataclass(frozen=True)
class _Kept:
    """What the side ``name`` computed, and what keeps the files of it."""

    name: str
    captures: list[Capture]
    files: ExitStack


@dataclass
class Apart:
    """The ``layouts`` under one setting, on whichever two sides are asked for. As a context manager: what was kept goes with it.

    ``sides`` makes what a session runs of a serving and a reference interpreter, where it is not to start drivers itself.
    """

    spec: ModelSpec
    setting: Setting
    layouts: Sequence[str]
    timeouts: Timeouts = Timeouts()
    sides: Callable[[str, str], Sides] | None = None
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _checkpoints: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *exception: object) -> None:
        for side in ("serving", "reference"):
            self.forget(side)

    def results(self, serving: Named, reference: Named) -> list[CaseResult]:
        """The result of each layout. A side that was asked before, by the same name, is not asked again until it is forgotten."""
        referred = self._captures("reference", serving, reference)
        lost = isinstance(referred, Failure) and self.spec.key not in self._checkpoints
        served = referred if lost else self._captures("serving", serving, reference)
        return [
            self._result(index, layout, serving, reference, referred, served)
            for index, layout in enumerate(self.layouts)
        ]

    def forget(self, side: str) -> None:
        """Have ``side`` ("serving" or "reference") asked again, whatever it is named."""
        if side in self._kept:
            self._kept.pop(side).files.close()

    def _captures(self, side: str, serving: Named, reference: Named) -> list[Capture] | Failure:
        name = (serving if side == "serving" else reference).text
        if side in self._kept and self._kept[side].name == name:
            return self._kept[side].captures
        self.forget(side)
        files = ExitStack()
        try:
            found = self._ask(side, serving, reference, files)
        except (DriverFailure, EnvironmentFailure, UsageError) as error:
            files.close()
            return _failure(error)
        except BaseException:
            files.close()
            raise
        self._kept[side] = _Kept(name, found, files)
        return found

    def _ask(self, side: str, serving: Named, reference: Named, opened: ExitStack) -> list[Capture]:
        session = opened.enter_context(
            Session(
                serving_python=serving.python,
                reference_python=reference.python,
                timeouts=self.timeouts,
                checkpoints=self._checkpoints,
                runs=self.sides(serving.python, reference.python) if self.sides else None,
            )
        )
        try:
            self._checkpoints[self.spec.key] = session.checkpoint(self.spec)
            prompts = [prompt_for(Layout.parse(layout), self.spec) for layout in self.layouts]
            ask = session.refer if side == "reference" else session.serve
            return ask(self.spec, self.setting, prompts, about=" | ".join(self.layouts))
        finally:
            session.references.close()
            session.engines.close()

    def _result(
        self,
        index: int,
        layout: str,
        serving: Named,
        reference: Named,
        referred: list[Capture] | Failure,
        served: list[Capture] | Failure,
    ) -> CaseResult:
        case, reproduce = case_of(serving.text, reference.text, layout, self.setting, self.spec, self.timeouts)
        if isinstance(referred, Failure) or isinstance(served, Failure):
            failure = served if isinstance(served, Failure) else referred
            assert isinstance(failure, Failure)
            versions = _versions(serving, reference)
            found = failed(case, Layout.parse(layout), self.spec, self.setting, reproduce, failure, versions)
        else:
            pair = Pair(referred[index], served[index], 0.0)
            found = compared(case, Layout.parse(layout), self.spec, self.setting, pair, (), reproduce)
        return placed(found, serving.text, reference.text)


def failures(
    serving: str,
    references: Sequence[str],
    layouts: Sequence[str],
    setting: Setting,
    spec: ModelSpec,
    error: BaseException,
    versions: Mapping[str, str],
    declared: Sequence[Declared] = (),
    known: Declared | None = None,
) -> Iterator[CaseResult]:
    """The ERROR of every pair of a serving side that failed, or KNOWN where the failure is ``known``."""
    what = _failure(error)
    for layout in layouts:
        for reference in references:
            case, reproduce = case_of(serving, reference, layout, setting, spec, declared=declared)
            found = failed(case, Layout.parse(layout), spec, setting, reproduce, what, dict(versions), known)
            yield placed(found, serving, reference)


def _versions(serving: Named, reference: Named) -> dict[str, str]:
    try:
        return Interpreters(reference.python, serving.python).versions
    except EnvironmentFailure:
        return {}


def _failure(error: BaseException) -> Failure:
    if isinstance(error, DriverFailure):
        return Failure.of(error)
    return Failure("environment", FailureKind.UNFORESEEN, str(error))


def case_of(
    serving: str,
    reference: str,
    layout: str,
    setting: Setting,
    spec: ModelSpec,
    timeouts: Timeouts = Timeouts(),
    declared: Sequence[Declared] = (),
) -> tuple[Case, str]:
    """The case of one pair of sides, and the command that runs it again."""
    case = Case(f"{serving} with {reference}", "one pair of releases", layout, spec.name)
    named = (("--serving", serving), ("--reference", reference))
    words = tuple(word for option, text in named if text != sys.executable for word in (option, text))
    return case, command(case, setting, spec, _Words(words, timeouts), declared)


def placed(result: CaseResult, serving: str, reference: str) -> CaseResult:
    """The result, with the two sides by the names that the command line gives them."""
    return replace(result, extra={**result.extra, "serving": serving, "reference": reference})


@dataclass(frozen=True)
class _Words:
    """What a command says of a session, before there is one."""

    sides: tuple[str, ...]
    timeouts: Timeouts
    asking: Asking = Asking()
