"""`harness doctor` says what can be run, without starting an engine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import harness


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has nothing."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return str(folder / "bin" / "python")


@pytest.mark.engine
def test_json_is_all_that_is_on_standard_output() -> None:
    done = harness("doctor", "--format", "json")
    facts = json.loads(done.out)
    assert set(facts) == {"platform", "backends", "unavailable", "problems", "serving", "reference"}
    assert facts["serving"]["python"] == sys.version.split()[0]
    assert done.code == (3 if facts["problems"] else 0)
    assert done.err == ""
    assert not set(facts["backends"]) & set(facts["unavailable"])
    if facts["platform"] == "cpu":
        assert "flex" in facts["unavailable"] and "reshape_and_cache_flash" in facts["unavailable"]["flex"]
        assert "cpu" in facts["backends"]


def test_what_is_missing_comes_with_what_mends_it(bare: str) -> None:
    done = harness("doctor", "--format", "json", "--serving-python", bare, "--reference-python", bare)
    facts = json.loads(done.out)
    assert done.code == 3 and facts["platform"] is None and facts["backends"] == []
    assert len(facts["problems"]) == 2
    assert all(bare in problem["problem"] and problem["mend"] for problem in facts["problems"])


def test_text_is_for_people_and_keeps_its_brackets(bare: str) -> None:
    done = harness("doctor", "--serving-python", bare, "--reference-python", bare)
    assert "versions" in done.out and "Traceback" not in done.err
    assert "pip install -e .[cpu]" in done.out


@pytest.mark.engine
@pytest.mark.slow
def test_triton_that_a_release_has_switched_off_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Triton without back ends is one that vLLM does not use."""
    package = tmp_path / "triton"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '3.7.1'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = harness("doctor", "--format", "json")
    facts = json.loads(done.out)
    assert done.code == 3 and "triton" not in facts["backends"]
    assert any("triton" in problem["problem"] for problem in facts["problems"]), facts["problems"]
