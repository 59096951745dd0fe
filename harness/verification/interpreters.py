"""The Python interpreters that run the two sides: what they have, where they run, and the drivers that they start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

from harness.drivers import safe_path
from harness.drivers.process import Driver
from harness.drivers.running import RunningDriver
from harness.engines import registry
from harness.engines.adapter import Engine
from harness.engines.registry import ENGINES
from harness.engines.vllm.options import EngineOptions
from harness.errors import EnvironmentFailure
from harness.references.adapter import REFERENCES, TRANSFORMERS, Reference, installed
from harness.verification import environments

_INSPECT = """
import glob, importlib.metadata as m, json, os, sys
def v(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return None
versions = {n: v(n) for n in sys.argv[1:]}
there = len(glob.glob("/dev/nvidia[0-9]*"))
gpus = []
for one in map(str.strip, os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(there)))).split(",")):
    if one in gpus:
        gpus.clear()
        break
    if not (one.startswith(("GPU-", "MIG-")) or (one.isdigit() and int(one) < there)):
        break
    gpus.append(one)
print(json.dumps({"python": sys.version.split()[0], "gpus": len(gpus) if there else 0, **versions}))
"""
"""GPUs as CUDA counts them: those that `CUDA_VISIBLE_DEVICES` names, up to the first that is none."""
OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
AUDIO_READERS = ("soundfile", "av", "torchcodec")
"""What vLLM reads the audio of a message with."""
DISTRIBUTIONS = tuple(
    dict.fromkeys(
        [
            *(name for engine in ENGINES.values() for name in engine.distributions),
            *(name for one in REFERENCES.values() for name in (one.distribution, *one.versions.values())),
            *("torch", "triton", "torchvision", "torchaudio", "torchcodec", "safetensors"),
            *OPENCV,
            *AUDIO_READERS,
        ]
    )
)
"""Those by which it is known what an interpreter runs, and what decides whether it can."""


@lru_cache
def inspect(python: str) -> dict[str, Any]:
    """What an interpreter has: versions by distribution (None if absent), ``gpus``, without importing any of it.

    Raises:
        EnvironmentFailure: it is not an interpreter.
    """
    safe = {**os.environ, **safe_path.environment()}
    try:
        done = subprocess.run(
            [python, "-c", _INSPECT, *DISTRIBUTIONS], env=safe, capture_output=True, text=True, timeout=30, check=True
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentFailure(f"{python}: not a Python interpreter that can be run ({error})") from None


def engine_of(python: str) -> Engine:
    """The engine that an interpreter serves with.

    Raises:
        EnvironmentFailure: it is no interpreter, or has none.
    """
    found = registry.installed(inspect(python))
    if found is None:
        names = " or ".join(ENGINES)
        raise EnvironmentFailure(
            f"{python}: {names} is not installed for this interpreter; `make setup`, or `pip install -e .[cpu]` with it"
        )
    return found


def platform_of(python: str) -> str:
    """Where the engine of this interpreter runs: "cpu" or "cuda".

    Raises:
        EnvironmentFailure: it has no engine, or one that cannot run on this machine.
    """
    return engine_of(python).platform(inspect(python), python)


def reference_of(python: str) -> Reference:
    """The reference that an interpreter runs.

    Raises:
        EnvironmentFailure: it is no interpreter, or has none.
    """
    found = installed(inspect(python))
    if found is None:
        others = ", nor is ".join(one.distribution for one in REFERENCES.values() if one is not TRANSFORMERS)
        raise EnvironmentFailure(f"{python}: transformers is not installed for this interpreter, nor is {others}")
    return found


@dataclass(frozen=True)
class Asking:
    """How a command asks for a case: its first ``words``, and the ``options`` of a setting that it takes; None for all. It
    ``says_chat`` of a text that is a message unless each is one."""

    words: tuple[str, ...] = ("run",)
    options: tuple[str, ...] | None = None
    says_chat: bool = True


class Sides(Protocol):
    """What a session needs to know of the two sides, and how it starts their drivers. ``platform`` (cpu or cuda) is where serving
    runs, ``device`` where the reference does; ``release`` is the serving side's, ``reference`` the one that is run; ``versions``
    are of what is installed on both, under the names that captures give it; ``options`` are the words by which a command
    names the sides, ``asking`` how it begins. A driver that prepares is started for a reference that does not."""

    @property
    def platform(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def release(self) -> str: ...

    @property
    def reference(self) -> Reference: ...

    @property
    def versions(self) -> dict[str, str]: ...

    @property
    def options(self) -> tuple[str, ...]: ...

    @property
    def asking(self) -> Asking: ...

    def start_reference(self, log: Path, scratch: Path) -> RunningDriver: ...

    def start_preparing(self, log: Path, scratch: Path) -> RunningDriver: ...

    def start_serving(self, options: EngineOptions, log: Path, scratch: Path) -> RunningDriver: ...


@dataclass(frozen=True)
class Interpreters:
    """Sides that are run by interpreters; ``gpu`` is the only GPU that both use, as in `CUDA_VISIBLE_DEVICES`, but for engines
    of several ranks.

    Raises:
        EnvironmentFailure: one of them cannot run its side.
    """

    reference_python: str
    serving_python: str
    gpu: str | None = None

    def __post_init__(self) -> None:
        _ = self.platform, self.reference

    @cached_property
    def platform(self) -> str:
        return platform_of(self.serving_python)

    @cached_property
    def engine(self) -> Engine:
        return engine_of(self.serving_python)

    @cached_property
    def device(self) -> str:
        return self.platform

    @cached_property
    def reference(self) -> Reference:
        return reference_of(self.reference_python)

    @property
    def release(self) -> str:
        return self.engine.release(inspect(self.serving_python))

    @property
    def versions(self) -> dict[str, str]:
        named = {
            **{name: (self.reference_python, of) for name, of in self.reference.versions.items()},
            **{f"serving {name}": (self.serving_python, name) for name in ("torch", "transformers", "triton")},
        }
        found = {name: inspect(python)[distribution] for name, (python, distribution) in named.items()}
        return {self.engine.name: self.release, **{name: version for name, version in found.items() if version}}

    @property
    def options(self) -> tuple[str, ...]:
        named = (("--serving", self.serving_python), ("--reference", self.reference_python))
        return tuple(
            word
            for option, python in named
            if python != sys.executable
            for word in (option, environments.words(python))
        )

    @property
    def asking(self) -> Asking:
        return Asking()

    def start_reference(self, log: Path, scratch: Path) -> Driver:
        return self._started(self.reference, self.reference_python, log, scratch)

    def start_preparing(self, log: Path, scratch: Path) -> Driver:
        """With this interpreter where it has transformers, else with the one that serves, since vLLM requires it."""
        python = sys.executable if inspect(sys.executable)[TRANSFORMERS.distribution] else self.serving_python
        return self._started(TRANSFORMERS, python, log, scratch)

    def _started(self, reference: Reference, python: str, log: Path, scratch: Path) -> Driver:
        environment = {"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"), **self._pinned}
        if self.device == "cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        return Driver(reference.driver, "reference", python, log, environment, scratch)

    def start_serving(self, options: EngineOptions, log: Path, scratch: Path) -> Driver:
        return Driver(self.engine.driver, "serving", self.serving_python, log, self.variables(options), scratch)

    def variables(self, options: EngineOptions) -> dict[str, str]:
        """The environment variables of the process that serves."""
        return options.environment(self.platform) | (self._pinned if options.ranks == 1 else {})

    @property
    def _pinned(self) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {}
