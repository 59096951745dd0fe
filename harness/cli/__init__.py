"""The command line: `harness` and `python -m harness`."""

from harness import safe_path

safe_path.keep()

from harness.cli.ending import main  # noqa: E402  nothing else is imported before the path is safe

__all__ = ["main"]
