"""A catalogue of one's own that cannot be used is named in one line, whatever is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.verification.catalogue import load


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CASES = [", "SyntaxError"),
        ("from harness.prompts.case import Case\nCASES = [Case('a', 'b', 't3', colour=1)]", "TypeError"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("CASES = []", "DECLARED"),
    ],
)
def test_what_is_wrong_with_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, text: str, said: str
) -> None:
    folder = tmp_path / f"own{abs(hash(text))}"
    folder.mkdir()
    (folder / "catalogue.py").write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UsageError, match=said) as error:
        load(str(folder))
    assert "\n" not in str(error.value)
