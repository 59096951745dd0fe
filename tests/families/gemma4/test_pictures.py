"""A picture becomes as many soft tokens as transformers makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from harness.drivers.process import ROOT, SITE
from harness.errors import UsageError
from harness.families.gemma4 import pictures
from harness.families.gemma4.checkpoint import PRESET_PICTURES
from harness.families.gemma4.config import Pictures

SIZES = [(width, height) for width in (48, 49, 64, 333, 1000, 3000, 30000) for height in (48, 50, 100, 767, 1024, 4096)]
CUTS = [(4, 2, 70), (16, 3, 280)]
_THEIRS = """
import json, sys
from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size as resized
def count(width, height, patch, pool, most):
    try:
        rows, columns = resized(height, width, patch, most * pool**2, pool)
    except ValueError:
        return None
    return rows * columns // (patch * pool) ** 2
print(json.dumps([count(*each) for each in json.load(sys.stdin)]))
"""


def ours(width: int, height: int, patch: int, pool: int, most: int) -> int | None:
    cut = Pictures(patch_size=patch, pooling_kernel_size=pool, max_soft_tokens=most)
    try:
        return pictures.soft_tokens("image", "one", (width, height), cut)
    except UsageError:
        return None


def test_soft_tokens_are_as_many_as_transformers_makes() -> None:
    asked = [(*size, *cut) for cut in CUTS for size in SIZES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", _THEIRS],
        input=json.dumps(asked),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [ours(*each) for each in asked] == json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("size", [(4, 4), (1, 3000), (3000, 7)])
def test_a_side_is_not_shorter_than_a_soft_token(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="at least the 8 pixels"):
        pictures.soft_tokens("picture", "one", size, PRESET_PICTURES)
