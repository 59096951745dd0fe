"""Files are told as they are saved, together, and what Python writes beside them is not."""

from pathlib import Path

from harness.files.saved import saved


def test_what_is_saved_is_told_but_caches_are_not(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second, first / "__pycache__"):
        folder.mkdir()
    (first / "kernel.py").write_text("1")
    with saved([first, second]) as next_ones:
        (first / "__pycache__" / "kernel.pyc").write_text("1")
        (first / "beside").write_text("2")
        (first / "beside").rename(first / "kernel.py")
        assert next_ones() == [first / "kernel.py"]
        (second / "new.py").write_text("1")
        (first / "kernel.py").unlink()
        found = next_ones()
        found += next_ones() if len(found) == 1 else []
        assert sorted(found) == [first / "kernel.py", second / "new.py"]
