"""Which releases the package indexes of this machine have."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

from packaging.version import Version

from harness.errors import EnvironmentFailure
from harness.references.adapter import REFERENCES
from harness.verification.environments.release import Release

_LISTED = "Available versions:"


@lru_cache
def released(name: str) -> tuple[Release, ...]:
    """The final releases of a distribution or a reference that this Python can have, the oldest first, as pip finds them.

    Raises:
        EnvironmentFailure: no index in reach has any.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "index",
        "versions",
        REFERENCES[name].distribution if name in REFERENCES else name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    listed = next((line for line in done.stdout.splitlines() if line.startswith(_LISTED)), "")
    versions = sorted(Version(text.strip()) for text in listed.removeprefix(_LISTED).split(",") if text.strip())
    if not versions:
        why = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1].removeprefix("ERROR: ")
        raise EnvironmentFailure(f"{name}: its releases cannot be listed: {why}")
    return tuple(Release(name, str(version)) for version in versions if not version.is_prerelease)
