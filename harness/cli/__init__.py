"""The command line: `harness` and `python -m harness`."""

from harness.cli.app import main

__all__ = ["main"]
