"""What runs at the start of a driver process lets the user's own start file run too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.drivers.process import SITE


def started_with(*places: Path) -> list[str]:
    """What a process prints that has these folders on its path, after the drivers' own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [SITE, *places]))}
    command = [sys.executable, "-c", "print('over')"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_the_users_sitecustomize_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    assert started_with(tmp_path) == ["mine", "over"]


def test_a_second_copy_of_the_harness_is_no_endless_chain(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text((SITE / "sitecustomize.py").read_text())
    assert started_with(tmp_path) == ["over"]
