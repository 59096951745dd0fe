"""An entry of the cache is whole, or it is written again; what was killed leaves nothing, whenever it was."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from harness.families.cache import MANIFEST, kept, whole
from tests.drivers.processes import within

FILES = {"config.json": "{}", "model.safetensors": "weights", "more/tokenizer.json": "words"}
KILLED = """
import sys, time
from pathlib import Path
from harness.families.cache import kept
def write(directory):
    (directory / "model.safetensors").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
kept(Path(sys.argv[1]), "entry", write)
"""


class Writer:
    """Writes `FILES` and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, directory: Path) -> None:
        self.count += 1
        for name, text in FILES.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(text)
            (directory / name).chmod(0o600)


def files(entry: Path) -> dict[str, str]:
    found = {str(path.relative_to(entry)): path.read_text() for path in entry.rglob("*") if path.is_file()}
    del found[MANIFEST]
    return found


def killed_build(cache: Path) -> None:
    """A process that was killed while it wrote "entry"."""
    words = [sys.executable, "-c", KILLED, str(cache)]
    building = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True)
    assert building.stdout.readline() == "writing\n"
    building.kill()
    building.wait()
    building.stdout.close()


def hidden(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.name.startswith(".") and not path.name.endswith(".lock")}


def test_it_is_written_once_and_is_whole(tmp_path: Path) -> None:
    write = Writer()
    assert (
        kept(tmp_path / "cache", "entry", write)
        == kept(tmp_path / "cache", "entry", write)
        == tmp_path / "cache" / "entry"
    )
    assert write.count == 1 and whole(tmp_path / "cache" / "entry")
    assert files(tmp_path / "cache" / "entry") == FILES


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("how", ["lost", "cut", "changed", "emptied"])
def test_one_that_was_damaged_is_written_again(tmp_path: Path, name: str, how: str) -> None:
    write = Writer()
    damaged = kept(tmp_path, "entry", write) / name
    text = damaged.read_text()
    if how == "lost":
        damaged.unlink()
    else:
        damaged.write_text({"cut": text[:-1], "changed": text[:-1] + "?", "emptied": ""}[how])
    entry = kept(tmp_path, "entry", write)
    assert write.count == 2 and whole(entry) and files(entry) == FILES


def test_an_entry_of_a_release_that_kept_no_manifest_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "config.json").write_text("old")
    assert files(kept(tmp_path, "entry", Writer())) == FILES


def test_many_at_once_write_it_once(tmp_path: Path) -> None:
    write = Writer()
    killed_build(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        entries = list(pool.map(lambda _: kept(tmp_path, "entry", write), range(64)))
    assert set(entries) == {tmp_path / "entry"} and write.count == 1 and hidden(tmp_path) == set()


def test_many_at_once_remove_what_was_killed_without_falling_over_each_other(tmp_path: Path) -> None:
    for time in range(5):
        killed_build(tmp_path)
        with ThreadPoolExecutor(16) as pool:
            list(
                pool.map(
                    lambda number: kept(tmp_path, number, Writer()), [f"other-{time}-{number}" for number in range(16)]
                )
            )
        assert hidden(tmp_path) == set()


def test_a_build_that_goes_on_is_left_alone_however_old_it_is(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:

        def slow(directory: Path) -> None:
            (directory / "model.safetensors").write_text("half")
            os.utime(directory, (0, 0))
            assert within(20, (tmp_path / "other").exists)

        building = pool.submit(kept, tmp_path, "entry", slow)
        assert within(20, lambda: hidden(tmp_path) == {".entry.building"})
        kept(tmp_path, "other", Writer())
        assert whole(building.result())


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "config.json").write_text("{}")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        kept(tmp_path, "entry", fail)
    assert hidden(tmp_path) == set() and not (tmp_path / "entry").exists()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o002, 0o775), (0o077, 0o700)])
def test_others_may_read_it_as_the_umask_says(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        entry = kept(tmp_path / "cache", "entry", Writer())
    finally:
        os.umask(before)
    assert entry.stat().st_mode & 0o777 == mode
    assert all(path.stat().st_mode & 0o777 == mode & 0o666 for path in entry.rglob("*") if path.is_file())
