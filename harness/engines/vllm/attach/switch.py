"""What switches attaching on: an environment variable that names a file with a token."""

from __future__ import annotations

import os
import stat

from harness.errors import UsageError

SWITCH = "HARNESS_ATTACH"
"""The environment variable of the server that names the file; without it nothing of the harness is in a server."""
PLUGIN = "harness"
"""The name of both plugins, by which `VLLM_PLUGINS` has to allow the endpoint."""
FIELD = "token-file"
SHORTEST = 32
"""Characters of a token."""
LARGEST = 4096
"""And the most."""
ROOT = 0
"""The user who can read every file anyway."""


def is_on() -> bool:
    """Whether this process belongs to a server that can be observed."""
    return bool(os.environ.get(SWITCH))


def token_of(path: str) -> str:
    """The token in a file of which nobody but its owner can read.

    Raises:
        UsageError: there is none that could be kept secret.
    """
    how = "make one with: (umask 077; openssl rand -hex 32 > FILE)"
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            about = os.fstat(file.fileno())
            text = file.read(LARGEST + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(FIELD, path, f"a file with a token ({error}); {how}") from None
    if not stat.S_ISREG(about.st_mode) or about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(FIELD, path, "a file that its owner alone can use; chmod 600")
    if about.st_uid not in (os.geteuid(), ROOT):
        raise UsageError(FIELD, path, "a file of the user who runs this: its owner knows the token")
    if not SHORTEST <= len(text) <= LARGEST or not text.isprintable() or " " in text:
        raise UsageError(FIELD, path, f"a file with one word of {SHORTEST} to {LARGEST} characters; {how}")
    return text


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe nobody is waited for who would write into it."""
    return os.open(path, flags | os.O_NONBLOCK)
