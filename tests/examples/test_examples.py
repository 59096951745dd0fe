"""The examples run as their first lines say, and show what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.compare.known_file import read
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.drivers.process import ROOT
from harness.report.files import read_results
from harness.verification.catalogue import load
from tests.verification.reproducing import asked

EXAMPLES = ROOT / "examples"


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=ROOT, env=variables, timeout=500
    )


def test_a_property_of_ones_own_holds() -> None:
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/own_strategy.py")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


def test_the_commands_find_a_catalogue_of_ones_own() -> None:
    catalogue = load(str(EXAMPLES / "my_cases"))
    cpu, cuda = (catalogue.entries(platform, sys.executable) for platform in ("cpu", "cuda"))
    assert {case.name for case, _ in cpu} == {case.name for case in catalogue.cases}
    for entries, platform in ((cpu, "cpu"), (cuda, "cuda")):
        for _, setting in entries:
            setting.engine.check_platform(platform)
    (declared,) = catalogue.declared
    assert [declared.holds(setting, "0.32.0") for setting in (Setting.of(runner="v1"), Setting.of(runner="v2"))] == [
        False,
        True,
    ]


def test_a_report_is_made_of_a_catalogue_of_ones_own(tmp_path: Path) -> None:
    """The answers are pretended; finding the cases, running them all and reporting are not."""
    words = ["report", "--cases", str(EXAMPLES / "my_cases"), "--out", str(tmp_path / "mine")]
    done = python("-m", "tests.cli.pretended", "0", *words)
    assert done.returncode == 0, done.stderr
    found = [(result.case, result.setting["runner"]) for result in read_results(tmp_path / "mine" / "results.json")]
    assert found == [(case, runner) for runner in ("v1", "v2") for case in ("two-pictures", "long-picture")]


def test_the_known_file_of_the_deployment_declares_what_upstream_has_to_mend() -> None:
    (known,) = read(EXAMPLES / "deployment-ci" / "known.toml")
    v1, v2 = (Setting.of(runner=runner) for runner in ("v1", "v2"))
    assert [known.holds(v1, "0.32.0"), known.holds(v2, "0.32.0"), known.holds(v2, "0.33.0")] == [False, True, False]


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (1, 3), (2, 0)])
def test_the_job_for_any_ci_runs_commands_that_exist_and_ends_with_the_worst(tmp_path: Path, codes: tuple) -> None:
    """`harness` is replaced by what notes how it is called, and each call is then given to the command line."""
    called, fake = tmp_path / "called", tmp_path / "bin" / "harness"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/bin/sh\nprintf '%s ' harness \"$@\" | sed 's/t3 i\\([0-9]*\\) t4/\"&\"/' >> {called}\necho >> {called}\n"
        f"test $(grep -c . {called}) = 1 && exit {codes[0]}\nexit {codes[1]}\n"
    )
    fake.chmod(0o755)
    variables = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "REPORTS": str(tmp_path / "reports")}
    done = subprocess.run(["examples/deployment-ci/verify.sh"], cwd=ROOT, env=variables, check=False)
    assert done.returncode == max(codes)
    first, second = map(asked, called.read_text().splitlines())
    assert (first.case.layout, second.case.layout) == ("t3 i5 t4", "t3 i12 t4")
    assert first.declared == second.declared == read(EXAMPLES / "deployment-ci" / "known.toml")
    assert first.setting.engine.runner == "v2"


def test_the_job_for_github_runs_what_is_there() -> None:
    yaml = pytest.importorskip("yaml")
    (job,) = yaml.safe_load((EXAMPLES / "deployment-ci" / "github-actions.yml").read_text())["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [command.split()[0] for command in commands] == ["make", "examples/deployment-ci/verify.sh"]
    assert subprocess.run(["make", "-n", commands[0].split()[1]], cwd=ROOT, capture_output=True).returncode == 0
    assert os.access(ROOT / commands[1], os.X_OK)
    (kept,) = [step["with"]["path"] for step in job["steps"] if step.get("if") == "always()"]
    assert {step["working-directory"] for step in job["steps"] if "run" in step} == {"harness"}
    assert f"REPORTS:-{Path(kept).relative_to('harness')}" in (ROOT / commands[1]).read_text()


@pytest.mark.engine
@pytest.mark.slow
def test_one_case_is_verified_and_told() -> None:
    done = python("examples/run_case.py")
    assert done.returncode == Verdict.DIVERGED.exit_code, done.stderr
    assert "layer 0, sliding_attention: reference clamp, serving drop" in done.stdout
    assert "layer 1, full_attention: reference causal, serving causal" in done.stdout


@pytest.mark.slow
@pytest.mark.engine
def test_a_mutant_of_ones_own_is_planted_and_seen() -> None:
    done = python("examples/own_mutant.py")
    assert done.returncode == 0, done.stdout + done.stderr
    right, planted = (done.stdout.index(f": {verdict}: ") for verdict in ("PASS", "DIVERGED"))
    assert right < planted and "image 2" in done.stdout[planted:]
