"""What is imported ahead of an engine: all but vLLM's own files, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.drivers import safe_path
from harness.drivers.process import ROOT, SITE

AHEAD = """
import sys
from harness.engines.vllm.ahead import import_ahead, imported
import_ahead({modules!r})
print(*[name for name in {asked!r} if name in sys.modules], "vllm" in imported(), "harness.errors" in imported())
"""


def ahead(folder: Path, modules: list[str], asked: list[str]) -> subprocess.CompletedProcess[str]:
    env = safe_path.environment([str(SITE), str(ROOT), str(folder)])
    code = AHEAD.format(modules=modules, asked=asked)
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A vLLM, a package that it imports, one that imports it, and one that cannot be imported."""
    files = {"vllm": "", "beside": "", "within": "import vllm", "broken": "import nowhere"}
    for name, content in files.items():
        (tmp_path / f"{name}.py").write_text(content)
    return tmp_path


def test_what_cannot_be_imported_is_left_to_the_engine(packages: Path) -> None:
    done = ahead(packages, ["broken", "not.there", "beside"], ["beside", "broken", "vllm"])
    assert done.stdout.split() == ["beside", "False", "False"], done.stderr


def test_a_package_that_imports_vllm_is_refused(packages: Path) -> None:
    """Its files would be those of before the change."""
    done = ahead(packages, ["within"], [])
    assert done.returncode != 0
    assert "imports vLLM" in done.stderr
