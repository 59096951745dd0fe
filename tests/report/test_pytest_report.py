"""`pytest --harness-report DIR` removes nothing that it did not write, and reports what ran however the run ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from harness.files import jsonl
from harness.report import journal
from tests.drivers.processes import interruptible, within

TESTS = """
import os
import time
import pytest
from tests.report.results import result

@pytest.mark.parametrize("number", range(6))
def test_one(recorded, number):
    recorded.append(result(case=f"case-{number}"))
    time.sleep(float(os.environ["SECONDS"]))
"""


def begun(folder: Path, *words: str, seconds: float = 0.0) -> subprocess.Popen:
    """pytest over six tests that each keep a result."""
    tests = folder.parent / "tests"
    tests.mkdir(exist_ok=True)
    (tests / "test_six.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(ROOT),
        "--confcutdir",
        str(ROOT),
    ]
    command += ["-p", "conftest", "-p", "no:cacheprovider", "-q", str(tests), "--harness-report", str(folder), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SECONDS": str(seconds)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=interruptible, **pipes)


def ended(command: subprocess.Popen) -> tuple[int, str]:
    out, _ = command.communicate(timeout=60)
    return command.returncode, out


@pytest.mark.parametrize(
    "words", [["-n", "2"], *(pytest.param(words, marks=pytest.mark.slow) for words in ([], ["--collect-only"]))]
)
def test_what_is_not_its_own_stays(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "report"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "thesis.txt").write_text("three years of work")
    (folder / "parts" / "main.jsonl").write_text("{}\n")
    code, out = ended(begun(folder, *words))
    assert code == 0, out
    assert (folder / "parts" / "thesis.txt").read_text() == "three years of work"
    assert (folder / "parts" / "main.jsonl").read_text() == "{}\n"
    if "--collect-only" in words:
        assert [path.name for path in folder.iterdir()] == ["parts"]
    else:
        document = json.loads((folder / "results.json").read_text())
        assert sorted(each["case"] for each in document["results"]) == [f"case-{number}" for number in range(6)]
        assert document["part"] is None and not (folder / journal.FILE).exists()


def test_collecting_leaves_what_a_run_that_was_killed_had_found(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    with begun(folder, seconds=0.5) as command:
        assert within(60, lambda: len(jsonl.read(folder / journal.FILE)) > 2)
        command.kill()
    kept = (folder / journal.FILE).read_bytes()
    code, _ = ended(begun(folder, "--collect-only"))
    assert code == 0 and (folder / journal.FILE).read_bytes() == kept
    code, _ = ended(begun(folder))
    (aside,) = folder.glob("results-*.jsonl")
    assert code == 0 and aside.read_bytes() == kept


@pytest.mark.parametrize(
    ("words", "how", "code", "why"),
    [
        ([], "SIGINT", 2, "Ctrl-C"),
        (["-n", "2"], "SIGTERM", 143, "SIGTERM"),
        pytest.param([], "SIGHUP", 129, "SIGHUP", marks=pytest.mark.slow),
        pytest.param(["-n", "2"], "SIGINT", 2, "Ctrl-C", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_ended_reports_what_it_has(
    tmp_path: Path, words: list[str], how: str, code: int, why: str
) -> None:
    folder = tmp_path / "report"
    with begun(folder, *words, seconds=0.5) as command:
        assert within(60, lambda: len(jsonl.read(folder / journal.FILE)) > 2)
        command.send_signal(getattr(signal, how))
        ended_with, out = ended(command)
    assert ended_with == code, out
    document = json.loads((folder / "results.json").read_text())
    assert 2 <= len(document["results"]) < 6
    assert document["part"]["sentence"] == f"interrupted by {why}, {document['part']['done']} of 6 tests"


def test_two_runs_do_not_share_a_folder_and_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    with begun(folder, seconds=60) as command:
        assert within(60, (folder / journal.FILE).exists)
        code, out = ended(begun(folder))
        assert code == 4 and f"process {command.pid} does" in out
        command.kill()
    (folder / journal.FILE).write_text("mine\n")
    code, out = ended(begun(folder))
    assert code == 4 and journal.FILE in out and (folder / journal.FILE).read_text() == "mine\n"
