"""`harness doctor` says what can be run, without starting anything."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.command import harness


def test_json_is_all_that_is_on_standard_output() -> None:
    done = harness("doctor", "--format", "json")
    facts = json.loads(done.out)
    assert set(facts) == {"host", "backends", "problems", "serving", "reference"}
    assert facts["serving"]["python"] == sys.version.split()[0]
    assert done.code == (3 if facts["problems"] else 0)
    assert done.err == "" and done.seconds < 5


def test_what_is_missing_comes_with_what_mends_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    bare = str(tmp_path / "bin" / "python")
    done = harness("doctor", "--format", "json", "--serving-python", bare, "--reference-python", bare)
    facts = json.loads(done.out)
    assert done.code == 3 and facts["host"] is None and facts["backends"] == []
    assert len(facts["problems"]) == 2
    assert all(problem["problem"] and problem["mend"] for problem in facts["problems"])


def test_text_is_for_people() -> None:
    done = harness("doctor")
    assert "versions" in done.out and "Traceback" not in done.err
