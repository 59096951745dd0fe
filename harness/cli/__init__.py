"""The command line: `harness` and `python -m harness`."""

from harness.drivers import safe_path

safe_path.keep()

from harness.cli.ending import main

__all__ = ["main"]
