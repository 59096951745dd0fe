"""The command line with answers that come from elsewhere than an engine: all else of it is real, workers and signals too."""

from __future__ import annotations

import sys
from importlib import import_module

PLACES = {
    "verify": ("harness.verification.verify", "verify"),
    "search": ("harness.cli.mutants", "_search"),
    "cases": ("harness.cli.report", "_verified"),
    "block": ("harness.cli.soak", "block"),
    "measure": ("harness.campaigns.bench", "measure"),
    "stream": ("harness.cli.bench", "_stream"),
    "started": ("harness.cli.nightly", "_started"),
}
"""The functions of a replacing module, and the modules and names that they take the place of."""


def run(replacing: str, words: list[str]) -> int:
    """Run a command in which the functions that the module ``replacing`` has answer; its exit code. They are found by their names
    in the processes of workers too, so the module is imported, whatever runs as the main one."""
    module = import_module(replacing)
    for name, (place, there) in PLACES.items():
        if hasattr(module, name):
            setattr(import_module(place), there, getattr(module, name))
    from harness.cli import main

    sys.argv[:] = ["harness", *words]
    return main()
