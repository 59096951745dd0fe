"""References beside the first, which are asked for the same prompts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.captures.read import Capture
from harness.compare.result import Failure
from harness.compare.setting import Setting
from harness.drivers.messages import ReferenceModel, RunReference
from harness.drivers.timeouts import Timeouts
from harness.errors import DriverFailure, FailureKind, UsageError
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.references.adapter import TRANSFORMERS
from harness.verification import environments
from harness.verification.capture_store import CaptureStore, read
from harness.verification.interpreters import Interpreters, Sides
from harness.verification.reference_pool import References, reference_model
from harness.verification.usage import check_reference


def called(python: str) -> str:
    """How a command names the reference that an interpreter runs; this one has the transformers that needs no version."""
    return TRANSFORMERS.name if python == sys.executable else environments.words(python)


Key = tuple[ReferenceModel, tuple[int, ...], tuple[int, ...], str]


@dataclass(frozen=True)
class Answered:
    """What a further reference made of a prompt, and what it is ``called``."""

    called: str
    found: Capture | Failure


class FurtherSide:
    """One of them, with a driver of its own. What it answered is remembered."""

    def __init__(self, sides: Sides, python: str, name: str, store: CaptureStore, timeouts: Timeouts) -> None:
        self.called = name
        self._python = python
        self._sides = sides
        self._store = store
        self._timeouts = timeouts
        self._references = References(sides, store, timeouts)
        self._known: dict[Key, Capture | Failure] = {}

    @classmethod
    def of(
        cls, python: str, serving_python: str, gpu: str | None, store: CaptureStore, timeouts: Timeouts
    ) -> FurtherSide:
        """The reference that an interpreter runs; raises EnvironmentFailure where it has none."""
        return cls(Interpreters(python, serving_python, gpu), python, called(python), store, timeouts)

    def answers(
        self, spec: ModelSpec, checkpoint: str, setting: Setting, prompts: Sequence[Prompt], *, about: str = ""
    ) -> list[Answered]:
        """What it makes of each of ``prompts``, with the attention that a setting asks for where it has that, else its own. A
        failure is an answer too."""
        reference = self._sides.reference
        attention = setting.reference.reference
        known = attention if attention in reference.attention else reference.attention[0]
        model = replace(reference_model(checkpoint, setting), attention=known)
        try:
            reference.check(model.attention, model.dtype, model.kv_dtype, spec, adapted=model.adapted)
            check_reference(spec, self._python)
        except UsageError as error:
            failure = Failure("reference", FailureKind.UNSUPPORTED, str(error))
            return [Answered(self.called, failure)] * len(prompts)
        return [Answered(self.called, self._answer(model, setting, prompt, about)) for prompt in prompts]

    def _answer(self, model: ReferenceModel, setting: Setting, prompt: Prompt, about: str) -> Capture | Failure:
        layers, positions = setting.selection.layers, setting.selection.positions
        key = (model, layers, positions, prompt.digest)
        if key not in self._known:
            try:
                self._known[key] = self._asked(model, layers, positions, prompt, about)
            except DriverFailure as error:
                self._known[key] = Failure.of(error)
            except UsageError as error:
                self._known[key] = Failure("reference", FailureKind.UNSUPPORTED, str(error))
        return self._known[key]

    def _asked(
        self, model: ReferenceModel, layers: tuple[int, ...], positions: tuple[int, ...], prompt: Prompt, about: str
    ) -> Capture:
        driver = self._references.ready(model, in_turn=False)
        prepared = self._references.prepared(model, [prompt])
        out = self._store.directory("further")
        asked = RunReference(model, (prompt,), out, layers, positions, samples=2, prepared=prepared)
        (stored,) = driver.ask(asked, timeout=self._timeouts.case, about=about).captures
        return read(stored)

    def close(self) -> None:
        """End its drivers."""
        self._references.close()
