"""The public names: each resolves, is documented, and costs nothing until it is asked for."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import harness
from harness.drivers.process import ROOT

HEAVY = (
    "torch",
    "vllm",
    "transformers",
    "pandas",
    "numpy",
    "plotly",
    "typer",
    "rich",
    "pydantic",
    "hypothesis",
    "packaging",
)


def told(name: str) -> str | None:
    """What is said of a name: its docstring or, of a table, the string below its assignment."""
    found = getattr(harness, name)
    if inspect.isclass(found) or inspect.isfunction(found) or inspect.ismodule(found):
        return found.__doc__
    home = sys.modules[harness._HOME[name]]
    body = ast.parse(Path(str(home.__file__)).read_text()).body
    for statement, after in pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets) and isinstance(
            after, ast.Expr
        ):
            return ast.literal_eval(after.value)
    return None


@pytest.mark.parametrize("name", harness.__all__)
def test_each_name_resolves_and_says_what_it_is(name: str) -> None:
    text = told(name)
    assert text and not text.startswith(f"{name}("), "a docstring, and not the one that dataclasses make up"


def test_each_name_has_its_line_in_the_documentation() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == list(harness.__all__)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    (block,) = [one for one in ast.parse(Path(harness.__file__).read_text()).body if isinstance(one, ast.If)]
    imported = {
        alias.asname: one.module for one in block.body if isinstance(one, ast.ImportFrom) for alias in one.names
    }
    assert imported == harness._HOME


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lay'"):
        _ = harness.lay


@pytest.mark.parametrize("module", ["harness", "harness.drivers.supervise", "harness.drivers.safe_path"])
def test_importing_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", ["engines.vllm.driver", "references.transformers.driver", "drivers.channel"])
def test_drivers_need_nothing_of_the_command_line(module: str) -> None:
    """Their interpreters may have neither typer nor pandas."""
    code = (
        "import sys\n"
        "for name in ('typer', 'rich', 'plotly', 'jinja2', 'pytest'): sys.modules[name] = None\n"
        f"import harness.{module}\n"
        "print(*(n for n in sys.modules if n.startswith(('harness.cli', 'harness.report', 'harness.verification'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
