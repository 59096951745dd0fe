"""What an answer was made with: one that was found with other files says nothing of these."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from harness.verification.environments import Source, side
from harness.verification.interpreters import inspect


def content(text: str, field: str) -> str:
    """What ``--serving`` or ``--reference`` (``field``) names, as it is now: of a source tree a hash of its Python files, of an
    interpreter what is installed for it; a release is what its name says.

    Raises:
        UsageError: it names none of them.
        EnvironmentFailure: it is no interpreter.
    """
    named = side(text, field)
    if isinstance(named, Source):
        return hashed(named.package)
    return json.dumps(inspect(named), sort_keys=True) if isinstance(named, str) else str(named)


def hashed(folder: Path) -> str:
    """A hash of the Python files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0".encode(errors="surrogateescape") + path.read_bytes())
    return digest.hexdigest()[:16]


def source() -> str:
    """A hash of the harness's own modules."""
    return hashed(Path(__file__).parents[1])
