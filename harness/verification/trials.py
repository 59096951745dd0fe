"""What `harness doctor` finds out of the two interpreters: what can run, and what mends the rest."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.drivers import safe_path
from harness.drivers.process import ROOT, SITE
from harness.drivers.supervise import die_with
from harness.errors import EnvironmentFailure
from harness.references.adapter import TRANSFORMERS, installed
from harness.verification.interpreters import engine_of, inspect, platform_of
from harness.verification.workplace import Workplace

LONGEST = 300.0
"""Seconds that an import may take: vLLM reads some gigabytes from a disk that may be cold."""
TORCH_WHEELS = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Problem:
    """What does not work, and the command that mends it."""

    problem: str
    mend: str


@dataclass(frozen=True)
class Examined:
    """``platform`` is where serving runs ("cpu", "cuda", None); ``backends`` can be asked for; ``unavailable`` says why another
    cannot; ``sides`` has what `inspect` says of each interpreter."""

    platform: str | None
    backends: list[str]
    unavailable: dict[str, str]
    problems: list[Problem]
    sides: dict[str, dict]


def examine(serving_python: str, reference_python: str) -> Examined:
    """Try in both interpreters, at the same time, what each side needs.

    Raises:
        EnvironmentFailure: one is not an interpreter.
    """
    pythons = {"serving": serving_python, "reference": reference_python}
    sides = {side: inspect(python) for side, python in pythons.items()}
    problems: list[Problem] = []
    try:
        platform = platform_of(serving_python)
    except EnvironmentFailure as error:
        platform = None
        problems.append(Problem(str(error), "make setup"))
    known = installed(sides["reference"])
    if known is None:
        problems.append(
            Problem(f"{reference_python}: transformers is not installed for this interpreter", "make setup")
        )
    offered = engine_of(serving_python).backends(platform) if platform else ()
    able = {"serving": platform is not None, "reference": known is not None}
    unavailable: dict[str, str] = {}
    for side, answer in _tried({side: python for side, python in pythons.items() if able[side]}, platform).items():
        if answer["failed"]:
            problems.append(_failed(side, pythons[side], answer["failed"], sides[side]))
            unavailable |= dict.fromkeys(offered, "vllm cannot be imported") if side == "serving" else {}
        unavailable |= answer["unavailable"]
        problems += [_misfit(pythons[side], **misfit) for misfit in answer["misfits"]]
    if platform == "cpu" and not sides["serving"]["triton"]:
        problems.append(
            Problem(
                "triton is not installed: the back end triton cannot be interpreted", "pip install 'triton>=3.7,<3.8'"
            )
        )
    elif "triton" in unavailable and not any("cannot be imported" in each.problem for each in problems):
        problems.append(
            Problem(
                f"the back end triton cannot run: {unavailable['triton']}",
                "pip install another release of vllm or of triton",
            )
        )
    backends = [name for name in offered if name not in unavailable]
    return Examined(platform, backends, unavailable, list(dict.fromkeys(problems)), sides)


def _tried(pythons: dict[str, str], platform: str | None) -> dict[str, dict]:
    """What the trials of these sides print. Their temporary files go with them."""
    with closing(Workplace()) as place:
        running = {side: _start(python, side, platform, place.folder("t")) for side, python in pythons.items()}
        return {side: _answer(process) for side, process in running.items()}


def _start(python: str, side: str, platform: str | None, scratch: Path) -> subprocess.Popen:
    """The trial of a side, in the surroundings that its driver has, and without the working directory on its path; it ends
    with this process."""
    env = {**os.environ, **safe_path.environment([str(SITE), str(ROOT)]), "HF_HUB_OFFLINE": "1", "TMPDIR": str(scratch)}
    if side == "serving" and platform == "cpu":
        env["TRITON_INTERPRET"] = "1"
    words = [python, "-m", "harness.verification.trial", side]
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        preexec_fn=partial(die_with, os.getpid()),
    )  # fmt: skip


def _answer(process: subprocess.Popen) -> dict:
    """What a trial printed last; the end of what it said where it died."""
    try:
        out, log = process.communicate(timeout=LONGEST)
        return json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        why = (log.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        process.kill()
        why = f"it took more than {LONGEST:.0f} s"
    return {"failed": why, "misfits": [], "unavailable": {}}


def _failed(side: str, python: str, why: str, versions: dict) -> Problem:
    of_reference = (installed(versions) or TRANSFORMERS).imported
    what = {"serving": "vllm", "reference": of_reference}[side]
    return Problem(f"{python}: {what} cannot be imported: {why}", _mend(why, versions))


def _mend(why: str, versions: dict) -> str:
    """The command that mends a failed import."""
    beside = [name for name in ("torchaudio", "torchcodec") if versions[name]]
    if "+cpu" in (versions["torch"] or ""):
        if "torchvision" in why:
            wanted = f"torchvision=={_public(versions['torchvision'])}+cpu"
            return f"pip install --extra-index-url {TORCH_WHEELS} --force-reinstall --no-deps '{wanted}'"
        if beside:
            return f"pip uninstall -y {' '.join(beside)}  # built for CUDA, beside a CPU torch"
    return "make setup"


def _misfit(python: str, wants: str, installed: str, by: str) -> Problem:
    return Problem(f"{python}: {by} wants {wants}, and {installed} is installed", f"pip install '{wants}'")


def _public(version: str | None) -> str:
    return (version or "").split("+")[0]
