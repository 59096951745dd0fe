"""1 is a divergence and nothing else: what nobody foresaw is 3 and one line, and whoever does not read costs no verdict."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.cli import app, ending, show
from harness.drivers.process import ROOT
from harness.drivers.signals import ASKED

SHOW = ["show", "--layout", "t3 i5 t4 i12 t3"]
BY_MODULE = [sys.executable, "-m", "harness"]
BY_SCRIPT = [str(Path(sys.executable).with_name("harness"))]


def command(
    words: list[str], start: list[str] = BY_MODULE, shell: str = "", **variables: str
) -> subprocess.CompletedProcess:
    """Run it through a shell, with redirections and pipes in ``shell``, whose exit code is that of the command."""
    script = f'"$@" {shell}; exit ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        ["bash", "-c", script, "bash", *start, *words], capture_output=True, text=True, env=environment, timeout=60
    )


@pytest.fixture
def handlers() -> Iterator[None]:
    """What a command that ended here ignores is heeded again: later tests' children would inherit it."""
    before = {number: signal.getsignal(number) for number in ASKED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def ended(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path, handlers: None
) -> Callable[[str], tuple]:
    """A function that runs a command that does ``statement``: exit code, standard output and error."""

    def run(statement: str, **names: object) -> tuple[int, str, str]:
        exec(f"def fail():\n    {statement}", names)
        monkeypatch.setattr(app, "run", names["fail"])
        for stream in ("stdout", "stderr"):
            monkeypatch.setattr(sys, stream, getattr(sys, stream))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        code = ending.main()
        return code, *capfd.readouterr()

    return run


def assert_unforeseen(done: tuple[int, str, str], *said: str) -> str:
    """One line that names a log, which has the traceback; the traceback."""
    code, out, line = done
    assert (code, out) == (3, "")
    assert line.count("\n") == 1 and "Traceback" not in line
    for words in ("error: ", *said):
        assert words in line
    return Path(re.search(r"the traceback is in (.*)\n", line)[1]).read_text()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise KeyError('text_config')", "KeyError: 'text_config'"),
        ("raise MemoryError", "MemoryError"),
        ("raise OSError(28, 'No space left on device', 'x')", "No space left on device"),
        ("raise BrokenPipeError(32, 'Broken pipe')", "BrokenPipeError"),
        ("raise UnicodeEncodeError('ascii', 'ü', 0, 1, 'no')", "UnicodeEncodeError"),
        ("raise ExceptionGroup('two', [ValueError('a'), ValueError('b')])", "two"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("raise SystemExit('no')", "SystemExit: no"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise Exception('two\\nlines \\x1b[2J\\u202e')", r"two lines \x1b[2J<U+202E>"),
        ("raise Exception('x' * 60_000_000)", "more characters"),
        ("return fail()", "RecursionError"),
        ("import plotly_that_is_not_there", "No module named 'plotly_that_is_not_there'"),
        (
            "import concurrent.futures.process as p; raise p.BrokenProcessPool('a child process died')",
            "BrokenProcessPool",
        ),
    ],
)
def test_whatever_is_raised_is_3_and_one_line_with_a_log(statement: str, said: str, ended) -> None:
    assert "Traceback (most recent call last)" in assert_unforeseen(ended(statement), said)


def test_in_an_option_or_a_command_it_is_no_divergence(ended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", *SHOW])
    monkeypatch.setattr(show, "POLICIES", None)
    assert_unforeseen(ended("return run()", run=app.run), "TypeError")


def test_an_import_that_fails_is_no_divergence(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pandas'] = sys.modules['typer'] = None; sys.argv = ['harness']\n"
    code += "from harness.cli import main; sys.exit(main())"
    done = command([], [sys.executable, "-c", code], TMPDIR=str(tmp_path))
    assert_unforeseen((done.returncode, done.stdout, done.stderr), "typer")


def test_a_log_that_cannot_be_written_is_no_divergence(ended, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    code, _, said = ended("raise KeyError('x')")
    assert code == 3 and said.startswith(
        "error: KeyError: 'x'; no log could be written (No space left on device)\nTraceback"
    )


@pytest.mark.parametrize("code", [130, 143, 129])
def test_the_end_by_a_signal_stays_one(code: int, ended) -> None:
    assert ended(f"raise SystemExit({code})")[0] == code


@pytest.mark.parametrize(
    ("words", "code", "shell", "start"),
    [
        (SHOW, 0, "| head -1", BY_MODULE),
        (SHOW, 0, "| head -1", BY_SCRIPT),
        (["show", "--models"], 0, "| true", BY_MODULE),
        (SHOW, 0, ">&-", BY_MODULE),
        (SHOW, 0, "<&- >&- 2>&-", BY_SCRIPT),
        (["show", "--layout", "x"], 2, "2>&-", BY_MODULE),
        (["show", "--layout", "x"], 2, ">&- 2>/dev/full", BY_SCRIPT),
        ([], 2, "2>&1 | true", BY_MODULE),
    ],
)
def test_whoever_does_not_read_costs_no_exit_code(words: list[str], code: int, shell: str, start: list[str]) -> None:
    done = command(words, start, shell)
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_output_that_is_lost_for_lack_of_space_is_not_a_pass() -> None:
    done = command(SHOW, shell=">/dev/full")
    assert (done.returncode, done.stderr) == (
        3,
        "error: standard output could not be written: No space left on device\n",
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp037"])
def test_a_character_that_the_encoding_lacks_is_no_divergence(encoding: str) -> None:
    done = command(["show", "--models"], LANG="C", LC_ALL="C", PYTHONIOENCODING=encoding, shell="| cat >/dev/null")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_an_ascii_terminal_lacks_is_written_as_an_escape() -> None:
    done = command(["show", "--layout", "ü"], LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and done.stderr.startswith(r"error: layout segment: '\xfc' is not allowed")


@pytest.mark.parametrize(
    ("words", "code"), [(SHOW, 0), (["run", "--layout", "t3"], 3)], ids=["needs none", "needs one"]
)
def test_a_working_directory_that_is_gone_is_no_divergence(tmp_path: Path, words: list[str], code: int) -> None:
    script = 'mkdir here; cd here; rmdir ../here; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *BY_SCRIPT, *words],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code
    if code:
        assert_unforeseen((done.returncode, done.stdout, done.stderr), "FileNotFoundError")


def test_a_working_directory_that_was_removed_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = command(
        ["soak", "--layouts", "2"], ["bash", "-c", f'cd {gone}; rmdir {gone}; exec "$@"', "bash", *BY_SCRIPT]
    )
    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr.startswith("error: the working directory was removed") and done.stderr.count("\n") == 1
