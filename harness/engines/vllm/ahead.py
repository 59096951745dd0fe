"""What an engine imports of other packages, imported before it starts: most of the seconds of its start."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

OWN = ("vllm", "harness", "__main__", "sitecustomize", "usercustomize", "_harness_site")
"""What is read when the engine starts, and not before: files of a source tree change meanwhile."""


def imported() -> tuple[str, ...]:
    """The modules of other packages, in the order in which they were imported."""
    return tuple(name for name in sys.modules if name.partition(".")[0] not in OWN)


def import_ahead(modules: Sequence[str]) -> None:
    """Import them, but for those that cannot be imported by their name.

    What the start of a driver puts right before vLLM is imported (`harness/drivers/site`) is put right before these are.

    Raises:
        RuntimeError: vLLM was imported with them.
    """
    importlib.util.find_spec("vllm")
    for name in modules:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - the engine imports it again, and says so where it needs it
                continue
    if "vllm" in sys.modules:
        raise RuntimeError("a package that vLLM imports imports vLLM; nothing can be imported ahead")
