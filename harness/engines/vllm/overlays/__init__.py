"""Named changes laid over the serving side, inside the worker: patches (what a fix does) and mutants (faults)."""

from __future__ import annotations

from collections.abc import Iterable

from harness.engines.vllm.overlays.changes import Changes
from harness.engines.vllm.overlays.mutants import MUTANTS
from harness.engines.vllm.overlays.overlay import Overlay
from harness.engines.vllm.overlays.patches import PATCHES
from harness.engines.vllm.overlays.targets import require_implementation
from harness.errors import UsageError

OVERLAYS: dict[str, Overlay] = {overlay.name: overlay for overlay in (*PATCHES, *MUTANTS)}
"""By name, in the order in which a command lists them."""


def check_names(names: Iterable[str]) -> None:
    """Raise UsageError for a name that is no overlay's."""
    for name in names:
        if name not in OVERLAYS:
            raise UsageError("overlay", name, f"one of {', '.join(OVERLAYS)}")


def lay(names: Iterable[str], worker: object, release: str, changes: Changes) -> None:
    """Take back what ``changes`` holds, then lay overlays over ``worker`` in order.

    Raises:
        OverlayRefused: one does not fit this release or engine; then nothing is laid over it.
    """
    changes.undo()
    try:
        for name in names:
            overlay = OVERLAYS[name]
            overlay.check(release)
            if overlay.implementation:
                require_implementation(worker, overlay.implementation)
            overlay.apply(worker, changes)
    except BaseException:
        changes.undo()
        raise
