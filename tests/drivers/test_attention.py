"""What the reference driver lets transformers' eager attention do otherwise does not change what it computes."""

import json
import subprocess
import sys

from harness.drivers.process import ROOT, SITE

FLOAT64 = 1e-14
"""Some epsilons of float64, for sums in another order of values of about 1."""
FLOAT32 = 1e-6
"""Some epsilons of float32, to which eager attention rounds its weights."""


def test_eager_attention_by_rows_and_unrounded_is_eager_attention() -> None:
    command = [sys.executable, "-m", "tests.drivers.eager_attention"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": "", "PYTHONPATH": f"{SITE}:{ROOT}"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    far = json.loads(done.stdout.splitlines()[-1])
    assert far["by rows"] < FLOAT64
    assert FLOAT64 < far["unrounded"] < FLOAT32
