"""Named changes laid over the serving side, inside the worker: patches (what a fix does) and mutants (faults)."""

from __future__ import annotations


def apply(names, worker):
    return []
