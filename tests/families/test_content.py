"""A checkpoint is what its files hold, and not where they are."""

from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.families import content as home
from harness.families.content import Unchanged, content


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(100)))
    return folder


def test_a_copy_is_the_same_checkpoint(checkpoint: Path) -> None:
    before = content(str(checkpoint))
    moved = checkpoint.rename(checkpoint.with_name("two"))
    (moved / "notes.txt").write_text("neither side reads this")
    assert content(str(moved)) == before


@pytest.mark.parametrize("block", [16, 1 << 26])
@pytest.mark.parametrize("place", [0, 15, 16, 99])
def test_one_byte_makes_another(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, place: int, block: int) -> None:
    monkeypatch.setattr(home, "BLOCK", block)
    before = content(str(checkpoint))
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[place] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    assert content(str(checkpoint)) != before


def test_a_generation_config_is_part_of_it(checkpoint: Path) -> None:
    before = content(str(checkpoint))
    (checkpoint / "generation_config.json").write_text("{}")
    assert content(str(checkpoint)) != before


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_a_file_that_is_changed_while_it_is_read_is_named(checkpoint: Path, change: str) -> None:
    files = Unchanged.since_now(str(checkpoint))
    files.check()
    (checkpoint / "notes.txt").write_text("neither side reads this")
    files.check()
    name = {"changed": "config.json", "added": "tokenizer.json", "removed": "model.safetensors"}[change]
    if change == "removed":
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_text('{"sliding_window": 4}')
    with pytest.raises(CheckpointError, match=f"{name} changed while it was read"):
        files.check()
