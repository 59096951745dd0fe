"""What is no picture is refused before it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.families import pictures


@pytest.mark.parametrize("size", [(0, 5), (8001, 8000), (99999, 99999)])
def test_sizes_have_bounds(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="1 to 64 million pixels"):
        pictures.check_size("picture", "one", size)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="this is none"):
        pictures.size_of(str(tmp_path / "pipe"))
