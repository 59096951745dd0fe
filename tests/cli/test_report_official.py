"""`harness report --official` has a third column where the official reference's environment is there, and says how to get it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.report import _with_official
from harness.errors import UsageError
from harness.references.adapter import OFFICIAL
from harness.verification.environments.recipes import recipe
from harness.verification.environments.release import Release

RELEASE = f"official=={OFFICIAL.newest}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_ENVIRONMENTS", str(tmp_path))
    return tmp_path


def test_without_its_environment_one_line_says_how_it_is_made(cache: Path, capsys: pytest.CaptureFixture) -> None:
    assert _with_official(None) == ["transformers"]
    said = capsys.readouterr().err
    assert "no third column: `harness environments make official` makes" in said and len(said.splitlines()) <= 2
    assert not list(cache.iterdir()), "nothing is made"


def test_an_environment_that_is_there_is_a_further_reference(cache: Path, capsys: pytest.CaptureFixture) -> None:
    release = Release.parse(RELEASE)
    assert release
    folder = cache / f"official-{OFFICIAL.newest}-{recipe(release).key}"
    folder.mkdir()
    (folder / "environment.json").write_text(json.dumps({"release": RELEASE}))
    assert _with_official(["transformers==5.24.0"]) == ["transformers==5.24.0", RELEASE]
    assert capsys.readouterr().err.strip() == f"a third column: {RELEASE}"


@pytest.mark.parametrize("named", ["official", RELEASE])
def test_it_is_not_named_twice(cache: Path, named: str) -> None:
    with pytest.raises(UsageError, match="official: 'on' is not allowed; without --reference official"):
        _with_official(["transformers", named])
