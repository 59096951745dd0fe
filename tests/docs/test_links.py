"""What the pages and docstrings name exists: links, paths of the repository, modules of the harness."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.drivers.process import ROOT

FOLDERS = ("harness", "cases", "tests", "docs", "examples", "requirements")
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "cases/**/*.md",
        "examples/**/*.md",
        "reports/README.md",
        "Makefile",
        ".github/**/*.yml",
    )
    for page in ROOT.glob(pattern)
)
SOURCES = sorted(
    path
    for folder in ("harness", "cases", "tests", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w/.$-])(?:{'|'.join(FOLDERS)})/[\w./*-]*\w")
MODULE = re.compile(r"(?<![\w./-])harness(?:\.[A-Za-z_]\w*)+")


def names(page: Path) -> list[tuple[str, str]]:
    """(what is wrong, the word) of what a page or a module names and is not there."""
    text = page.read_text(encoding="utf-8")
    wrong = []
    if page.suffix == ".md":
        targets = (target.split("#")[0] for target in LINK.findall(text) if "://" not in target)
        wrong += [("link", target) for target in targets if not (page.parent / target).exists()]
    wrong += [("path", word) for word in PATH.findall(text) if not any(ROOT.glob(word)) and "NAME" not in word]
    wrong += [("module", word) for word in modules(page, text) if not is_there(word)]
    return wrong


def modules(page: Path, text: str) -> Iterator[str]:
    """Dotted names of the harness; in Python's files those in back quotes and after ``-m``, since Python checks the others."""
    for match in MODULE.finditer(text):
        before = text[max(0, match.start() - 3) : match.start()]
        if page.suffix == ".md" or before.endswith(("`", "-m ")):
            yield match.group()


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    path = ROOT.joinpath(*parts)
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    for end in range(len(parts) - 1, 0, -1):
        home = ROOT.joinpath(*parts[:end])
        for file in (home.with_suffix(".py"), home / "__init__.py"):
            if file.exists():
                return parts[end] in defined(file)
    return False


def defined(file: Path) -> set[str]:
    """What a module defines or imports, at whatever depth."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    made = {node.name for node in nodes if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    set_ = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return made | set_ | {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}


@pytest.mark.parametrize("page", [*PAGES, *SOURCES], ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_named_is_there(page: Path) -> None:
    assert names(page) == []


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "[a](nowhere.md) [b](page.md) `harness/serving/driver.py` docs/limits.md harness/compare/*.py "
        "`harness.layout` harness.compare.masks `harness.compare.masks.nowhere` their-project/tests/test_all.py\n"
    )
    wrong = [("link", "nowhere.md"), ("path", "harness/serving/driver.py")]
    assert names(page) == [*wrong, ("module", "harness.layout"), ("module", "harness.compare.masks.nowhere")]
