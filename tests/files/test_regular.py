"""Files that somebody else has left: a pipe is not waited for, and a damaged line costs itself alone."""

import os
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.files import jsonl, regular
from harness.report import journal
from harness.report.files import read_results


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_an_error_at_once(make, tmp_path: Path) -> None:
    make(tmp_path / "results.json")
    for read in (regular.content, jsonl.read, read_results):
        with pytest.raises(OSError):
            read(tmp_path / "results.json")


def test_a_line_of_another_kind_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    path.write_text(
        '5\n[1]\nnull\n{"key": "a"}\n{"key": ["a"]}\n' + "[" * 100_000 + '\n{"key": "b", "n": 1}\n{"ke', "utf-8"
    )
    assert jsonl.of_key(path, "b") == [{"key": "b", "n": 1}]


@pytest.mark.parametrize("damage", ['"verdict": "PASS"', '"verdict": 7, "layers": [5]'])
def test_a_result_of_another_form_is_bad_input(damage: str, tmp_path: Path) -> None:
    journal.begin("out", tmp_path, "harness report", 3)
    path = tmp_path / journal.FILE
    path.write_text(path.read_text("utf-8") + f'{{"result": {{{damage}}}}}\n', "utf-8")
    with pytest.raises(UsageError, match=r"of: .*results\.jsonl.*a line of it is damaged"):
        journal.left("of", path)
