"""Whether the kernel kills processes for lack of memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

COUNTERS = Path("/proc/vmstat")
KILLED = "oom_kill"


def for_memory() -> int:
    """How many processes the kernel has killed since the machine started, because there was no memory left for them (Linux,
    mm/oom_kill.c); 0 where it does not say."""
    with suppress(OSError):
        for line in COUNTERS.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == KILLED:
                return int(count)
    return 0
