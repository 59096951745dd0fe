"""What a run leaves behind: five files, each whole, that can be read again."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from harness.compare.result import SCHEMA, CaseResult
from harness.compare.verdict import Verdict
from harness.files import atomic
from harness.report.files import read_results, write_report
from harness.report.text import strict
from tests.report.results import one_of_each, result

FILES = {"index.html", "results.json", "results.csv", "junit.xml", "summary.md"}
UNENCODABLE = "\ud800"


def as_json(results: list[CaseResult]) -> list:
    return [strict(result.to_dict()) for result in results]


def load_strictly(path: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_report_is_five_files_and_names_its_page(tmp_path: Path) -> None:
    index = write_report(one_of_each(), tmp_path / "new" / "folder", "harness report")
    assert index == tmp_path / "new" / "folder" / "index.html"
    assert {path.name for path in index.parent.iterdir()} == FILES


def test_a_report_of_nothing_is_five_files_too(tmp_path: Path) -> None:
    index = write_report([], tmp_path, "harness report --only nothing")
    assert {path.name for path in index.parent.iterdir()} == FILES
    assert "no cases were run" in (tmp_path / "summary.md").read_text()
    assert read_results(tmp_path / "results.json") == []


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    results = one_of_each()
    write_report(results, tmp_path, "harness report")
    back = read_results(tmp_path / "results.json")
    assert as_json(back) == as_json(results)
    assert [entry.verdict for entry in back] == [entry.verdict for entry in results]
    assert all(isinstance(entry.verdict, Verdict) for entry in back)


def test_the_command_and_the_time_are_kept(tmp_path: Path) -> None:
    write_report(one_of_each(), tmp_path, "harness report --backend triton")
    document = load_strictly(tmp_path / "results.json")
    assert document["command"] == "harness report --backend triton"
    for name in ("index.html", "summary.md"):
        text = (tmp_path / name).read_text()
        assert document["generated"] in text and "harness report --backend triton" in text


def test_the_csv_has_a_row_a_result(tmp_path: Path) -> None:
    write_report(one_of_each(), tmp_path, "harness report")
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["verdict"]) for row in rows] == [(r.case, r.verdict.value) for r in one_of_each()]
    assert rows[1]["diagnosis"] == one_of_each()[1].diagnosis


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, str(SCHEMA), None])
def test_another_schema_is_refused(tmp_path: Path, schema: object) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema": schema, "results": []}))
    with pytest.raises(ValueError, match=rf"results\.json has schema .*, this release reads {SCHEMA}"):
        read_results(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null_and_can_be_reported_again(tmp_path: Path, value: float) -> None:
    one = result()
    logits = replace(
        one.logits, max_abs_diff=value, ratio=value, within=False, by_position={**one.logits.by_position, "kl": [value]}
    )
    write_report([replace(one, logits=logits, verdict=Verdict.DIVERGED)], tmp_path, "harness report")
    (kept,) = load_strictly(tmp_path / "results.json")["results"]
    assert kept["logits"]["max_abs_diff"] is None
    assert kept["logits"]["by_position"]["kl"] == [None]
    assert kept["logits"]["bound"] == one.logits.bound
    again = write_report(read_results(tmp_path / "results.json"), tmp_path / "again", "harness report")
    assert "not finite" in again.read_text(encoding="utf-8")
    assert "logits off by not finite times the noise floor" in (tmp_path / "again" / "summary.md").read_text()


def test_a_failing_write_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    path = atomic.write_text(tmp_path / "results.json", "old")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text(path, "new" * 10_000 + UNENCODABLE)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(OSError):
        atomic.write_text(tmp_path / "index.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_report_over_an_older_one_replaces_it(tmp_path: Path) -> None:
    write_report(one_of_each(), tmp_path, "harness report")
    write_report([result(case="later")], tmp_path, "harness report")
    assert [entry.case for entry in read_results(tmp_path / "results.json")] == ["later"]
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert all("image-last" not in (tmp_path / name).read_text(encoding="utf-8") for name in FILES)
