"""The words of a command line before they are parsed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from harness.cli import commands
from harness.cli.app import app
from harness.drivers.process import ROOT

GROUP = typer.main.get_command(app)


@pytest.mark.parametrize("name", commands.MODULES)
@given(words=st.lists(st.sampled_from(["--out", "a", "-", "--only", "--", "b=c"]), max_size=6))
@example(words=[])
def test_no_word_is_lost_or_added_without_an_option_that_stands_alone(name: str, words: list[str]) -> None:
    command = GROUP.get_command(None, name)
    assert list(command._completed(command.context_class(command), words)) == words


@pytest.mark.parametrize("name", [*commands.MODULES, *commands.GROUPS])
def test_every_command_is_listed_by_its_name(name: str) -> None:
    assert name in GROUP.list_commands(None) and GROUP.get_command(None, name).name == name


def test_a_report_of_what_another_run_left_takes_no_option_of_a_run() -> None:
    report = GROUP.get_command(None, "report")
    used = {"of", "out", "format"}
    assert {one.name for one in report.params} - used == set(report.idle["report"]["of"])


def test_no_command_loads_torch_to_read_its_options() -> None:
    modules = ", ".join(f"harness.cli.{name}" for name in (*commands.MODULES, *commands.GROUPS))
    done = subprocess.run([sys.executable, "-c", f"import sys, {modules}; sys.exit('torch' in sys.modules)"], cwd=ROOT)
    assert done.returncode == 0
