"""A session: both sides are asked for the same prompts, by drivers that are started once and asked many times."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from harness.captures.read import Capture
from harness.captures.selection import MASKS
from harness.compare.likely import Laid
from harness.compare.setting import Setting
from harness.drivers.messages import (
    AskMemory,
    Captured,
    Forced,
    ReferenceModel,
    Request,
    RunEngine,
    RunReference,
    Sent,
    ServePlainly,
    Stored,
)
from harness.drivers.running import RunningDriver, Told, ignored
from harness.drivers.timeouts import Timeouts
from harness.errors import UsageError
from harness.families.cache import cache_directory
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.verification import mates as mates_of
from harness.verification.capture_store import CaptureStore, Key, read
from harness.verification.engine_pool import Engines
from harness.verification.further import Answered, FurtherSide, called
from harness.verification.interpreters import Asking, Interpreters, Sides
from harness.verification.reference_pool import References, caching_of, reference_model

R = TypeVar("R", bound=Request[Captured])


@dataclass(frozen=True)
class Pair:
    """The captures of one prompt; ``started`` is what the drivers' starts took for it, 0 when they ran already. ``further`` is what
    further references made of it; ``laid`` are masks that were laid over the reference, None where none were tried."""

    reference: Capture
    serving: Capture
    started: float
    further: tuple[Answered, ...] = ()
    laid: tuple[Laid, ...] | None = None


@dataclass(frozen=True)
class Asked(Generic[R]):
    """What one side is asked for, and the driver that works on it; nothing was ``sent`` where nothing is needed."""

    driver: RunningDriver
    request: R
    sent: Sent[Captured] | None

    def captures(self, timeout: float) -> tuple[Stored, ...]:
        """Wait for the answer; raises as `Driver.receive`."""
        return self.driver.receive(self.sent, timeout=timeout).captures if self.sent else ()


@dataclass(frozen=True)
class InFlight:
    """Prompts that both sides were asked for: the ``keys`` of their captures of the reference, of which some are ``known`` and
    the others asked for, to be remembered or not."""

    keys: tuple[Key, ...]
    known: dict[Key, Stored]
    reference: Asked[RunReference]
    serving: Asked[RunEngine]
    remember: bool
    started: float

    @property
    def new(self) -> list[Key]:
        """The keys of what the reference was asked for, in that order."""
        return [key for key in dict.fromkeys(self.keys) if key not in self.known]


class Session:
    """Starts drivers when they are needed and ends them with `close` (or as a context manager).

    ``cache`` keeps checkpoints between runs; captures go to a directory that goes with the session
    unless ``keep`` names one. ``gpu`` is the only GPU that both sides use, as in `CUDA_VISIBLE_DEVICES`,
    but for engines of several ranks. ``runs`` takes the place of the two interpreters, if it is given.
    ``checkpoints`` are directories of specs, by their keys, that are there already. ``further`` are interpreters of references
    beside the first, which `observe` asks too. ``told`` hears how far a side is that takes minutes.

    Raises:
        EnvironmentFailure: an interpreter cannot run its side.
    """

    def __init__(
        self,
        *,
        reference_python: str = sys.executable,
        serving_python: str = sys.executable,
        cache: Path | None = None,
        keep: Path | None = None,
        gpu: str | None = None,
        timeouts: Timeouts = Timeouts(),
        runs: Sides | None = None,
        checkpoints: Mapping[str, str] | None = None,
        further: Sequence[str] = (),
        told: Told = ignored,
    ):
        self.reference_python = reference_python
        self.serving_python = serving_python
        self.runs = runs or Interpreters(reference_python, serving_python, gpu)
        self.cache = cache or cache_directory()
        self.timeouts = timeouts
        self.captures = CaptureStore(keep)
        self.references = References(self.runs, self.captures, timeouts)
        self.engines = Engines(self.runs, self.captures, timeouts)
        self.further_pythons = tuple(further)
        self.further = [FurtherSide.of(python, serving_python, gpu, self.captures, timeouts) for python in further]
        self.told = told
        self._checkpoints = dict(checkpoints or {})

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End every driver; remove the captures unless they are kept."""
        self.references.close()
        for one in self.further:
            one.close()
        self.engines.close()
        self.captures.close()

    @property
    def work(self) -> Path:
        """The directory of everything that the session writes but checkpoints."""
        return self.captures.path

    @property
    def platform(self) -> str:
        """Where the serving side runs: cpu or cuda."""
        return self.runs.platform

    @property
    def release(self) -> str:
        """The serving side's release of vLLM."""
        return self.runs.release

    @property
    def forces(self) -> bool:
        """Whether masks can be laid over the reference."""
        return self.runs.reference.forces

    @property
    def versions(self) -> dict[str, str]:
        """What is installed on both sides, under the names that captures give it."""
        return self.runs.versions

    @property
    def sides(self) -> tuple[str, ...]:
        """The options by which a command names what this session runs, but for this interpreter; of several references each."""
        if not self.further:
            return self.runs.options
        options = list(self.runs.options)
        if "--reference" not in options:
            options += ["--reference", called(self.reference_python)]
        return (*options, *(word for one in self.further for word in ("--reference", one.called)))

    @property
    def asking(self) -> Asking:
        """How a command asks for a case of this session."""
        return self.runs.asking

    def checkpoint(self, spec: ModelSpec) -> str:
        """The checkpoint directory of a spec, built if it is not in the cache."""
        if spec.source:
            return spec.source
        if spec.key not in self._checkpoints:
            self._checkpoints[spec.key] = self.references.build(spec, self.cache)
        return self._checkpoints[spec.key]

    def engine(self, spec: ModelSpec, setting: Setting) -> RunningDriver:
        """The driver whose engine serves a spec as a setting says, started now unless it runs.

        Raises:
            UsageError: the platform cannot run the setting.
            DriverFailure: it could not be started, or an overlay does not fit it.
        """
        setting.engine.check_platform(self.platform)
        return self.engines.ready(self.checkpoint(spec), spec, setting)

    def observe(
        self,
        spec: ModelSpec,
        setting: Setting,
        prompts: Sequence[Prompt],
        mates: Sequence[Prompt] = (),
        after: Sequence[Prompt] = (),
        *,
        history: Sequence[Prompt] = (),
        about: str = "",
    ) -> list[Pair]:
        """Run both sides at the same time on ``prompts``, served together in one batch, with ``mates`` added before them and
        others ``after`` them, when those of ``history`` were served one after another. A failure says that it was ``about``
        this case.

        Raises:
            DriverFailure: a driver failed or died; the next call starts it anew.
        """
        pairs = self.finish(self.begin(spec, setting, prompts, mates, after, history=history, about=about))
        checkpoint = self.checkpoint(spec)
        answered = [one.answers(spec, checkpoint, setting, prompts, about=about) for one in self.further]
        return [replace(pair, further=tuple(every[place] for every in answered)) for place, pair in enumerate(pairs)]

    def begin(
        self,
        spec: ModelSpec,
        setting: Setting,
        prompts: Sequence[Prompt],
        mates: Sequence[Prompt] = (),
        after: Sequence[Prompt] = (),
        *,
        history: Sequence[Prompt] = (),
        remember: bool = True,
        about: str = "",
    ) -> InFlight:
        """Ask both sides, without waiting, for what `observe` returns. Prompts may be in flight already if it is under the
        same setting and they are finished first. Without ``remember`` the reference's captures are this flight's own and
        have one sample of the noise floor; `sampled_again` is for those that need two.

        Raises:
            DriverFailure: a driver failed to start.
        """
        if setting.reference.offload:
            raise UsageError(
                "reference-offload", "on", "with `harness run` and `harness report`, which ask for one side at a time"
            )
        before = time.perf_counter()
        checkpoint = self.checkpoint(spec)
        model = reference_model(checkpoint, setting)
        setting.engine.check_platform(self.platform)
        with self.engines.starting(checkpoint, spec, setting):
            reference = self.references.ready(model, in_turn=not remember)  # refuses a bad checkpoint in seconds
        engine = self.engine(spec, setting)
        started = time.perf_counter() - before
        keys, known, new = self.new(model, setting, prompts, remember=remember)
        asked = self.to_refer(model, setting, tuple(new.values()), samples=2 if remember else 1)
        served = self.to_serve(spec, setting, prompts, mates, after, history)
        of_reference = reference.send(asked, timeout=self.timeouts.case, about=about) if new else None
        of_engine = engine.send(served, timeout=self.timeouts.case, about=about)
        return InFlight(
            keys, known, Asked(reference, asked, of_reference), Asked(engine, served, of_engine), remember, started
        )

    def new(
        self, model: ReferenceModel, setting: Setting, prompts: Sequence[Prompt], *, remember: bool
    ) -> tuple[tuple[Key, ...], dict[Key, Stored], dict[Key, Prompt]]:
        """The keys of the reference's captures of ``prompts``, those that are known, and the prompts of the others."""
        layers, positions = setting.selection.layers, setting.selection.positions
        caching = caching_of(setting)
        keys = tuple((model, caching, layers, positions, prompt.digest) for prompt in prompts)
        known = self.captures.known(keys) if remember else {}
        return keys, known, {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in known}

    def to_refer(
        self, model: ReferenceModel, setting: Setting, prompts: tuple[Prompt, ...], samples: int
    ) -> RunReference:
        """What the reference is asked for."""
        return RunReference(
            model,
            prompts,
            self.captures.directory("reference"),
            setting.selection.layers,
            setting.selection.positions,
            samples=samples,
            prepared=self.references.prepared(model, prompts),
            caching=caching_of(setting),
        )

    def to_serve(
        self,
        spec: ModelSpec,
        setting: Setting,
        prompts: Sequence[Prompt],
        mates: Sequence[Prompt] = (),
        after: Sequence[Prompt] = (),
        history: Sequence[Prompt] = (),
    ) -> RunEngine:
        """What serving is asked for, as `observe` says."""
        return RunEngine(
            tuple(prompts),
            self.captures.directory("serving"),
            tuple(mates),
            tuple(after),
            setting.selection.layers,
            setting.selection.positions,
            longest=spec.max_length if setting.scenario.prefix_caching else None,
            history=tuple(history),
            times=setting.scenario.times,
            poison=setting.scenario.poison,
            masks=setting.selection.observe == MASKS,
            adapter=setting.scenario.adapter,
            with_adapter=mates_of.adapted(setting) if mates or after else (),
        )

    def finish(self, flight: InFlight) -> list[Pair]:
        """Wait for prompts that were begun; raises as `observe` does."""
        new = dict(zip(flight.new, flight.reference.captures(self.timeouts.case), strict=True))
        if flight.remember:
            self.captures.remember(new)
        references = flight.known | new
        with self.engines.dropping(flight.serving.driver):
            served = flight.serving.captures(self.timeouts.case)
        return [
            Pair(read(references[key]), read(stored), flight.started)
            for key, stored in zip(flight.keys, served, strict=True)
        ]

    def refer(self, spec: ModelSpec, setting: Setting, prompts: Sequence[Prompt], *, about: str = "") -> list[Capture]:
        """What the reference alone makes of ``prompts``, with two samples of the noise floor; raises as `observe` does."""
        model = reference_model(self.checkpoint(spec), setting)
        reference = self.references.ready(model, in_turn=False, told=self.told)
        asked = self.to_refer(model, setting, tuple(prompts), samples=2)
        answer = reference.ask(asked, timeout=self.timeouts.case, about=about, told=self.told)
        return [*map(read, answer.captures)]

    def forced(
        self, spec: ModelSpec, setting: Setting, prompt: Prompt, every: Sequence[Forced], *, about: str = ""
    ) -> list[Capture]:
        """What the reference makes of a ``prompt`` with each of these masks laid over it, with one sample of the noise floor;
        raises as `observe` does."""
        model = reference_model(self.checkpoint(spec), setting)
        reference = self.references.ready(model, in_turn=False, told=self.told)
        found: list[Capture] = []
        for forced in every:
            out = self.captures.directory("forced")
            asked = RunReference(model, (prompt,), out, (), setting.selection.positions, forced=forced)
            answer = reference.ask(asked, timeout=self.timeouts.case, about=about, told=self.told)
            found += map(read, answer.captures)
        return found

    def serve(self, spec: ModelSpec, setting: Setting, prompts: Sequence[Prompt], *, about: str = "") -> list[Capture]:
        """What serving alone makes of ``prompts``, one after another; raises as `observe` does."""
        return [one for prompt in prompts for one in self.serve_together(spec, setting, (prompt,), about=about)]

    def serve_together(
        self,
        spec: ModelSpec,
        setting: Setting,
        prompts: Sequence[Prompt],
        mates: Sequence[Prompt] = (),
        after: Sequence[Prompt] = (),
        *,
        history: Sequence[Prompt] = (),
        about: str = "",
    ) -> list[Capture]:
        """What serving alone makes of ``prompts`` in one batch, with the others that `observe` names; raises as it does. Where the
        reference is offloaded it gives way, and the engine ends."""
        if setting.reference.offload:
            self.references.close()
        engine = self.engine(spec, setting)
        asked = self.to_serve(spec, setting, prompts, mates, after, history)
        with self.engines.dropping(engine):
            found = [*map(read, engine.ask(asked, timeout=self.timeouts.case, about=about).captures)]
        if setting.reference.offload:
            self.engines.close()
        return found

    def sampled_again(self, flight: InFlight, pairs: Sequence[Pair]) -> list[Pair]:
        """The ``pairs`` of a flight that was not to be remembered and is finished, as are all later ones, with new captures of
        the reference that have two samples of the noise floor; serving's stay.

        Raises:
            DriverFailure: the reference failed.
        """
        before = flight.reference.request
        request = replace(before, out=before.out / "again", samples=2)
        reference = self.references.ready(before.model, in_turn=True)
        captures = reference.ask(request, timeout=self.timeouts.case).captures
        again = dict(zip(flight.new, captures, strict=True))
        return [replace(pair, reference=read(again[key])) for key, pair in zip(flight.keys, pairs, strict=True)]

    def discard(self, flight: InFlight) -> None:
        """Remove the captures of prompts that were not to be remembered, unless the session keeps them."""
        if not flight.remember:
            prepared = flight.reference.request.prepared
            given = {one.file.parent for one in prepared.prompts} if prepared else ()
            self.captures.discard(flight.reference.request.out, flight.serving.request.out, *given)

    def forget_references(self) -> None:
        """Ask the reference again for prompts that it was asked before."""
        self.captures.forget()

    def serve_plainly(self, spec: ModelSpec, setting: Setting, prompts: Sequence[Prompt]) -> float:
        """Serve ``prompts`` in one batch without observing anything; the seconds that the engine took."""
        engine = self.engine(spec, setting)
        with self.engines.dropping(engine):
            return engine.ask(ServePlainly(tuple(prompts)), timeout=self.timeouts.case).seconds

    def peak_memory(self, spec: ModelSpec, setting: Setting) -> int:
        """The most bytes of GPU memory that tensors of the serving worker have taken; 0 on a CPU."""
        return self.engine(spec, setting).ask(AskMemory(), timeout=self.timeouts.case).bytes
