"""How much memory a reference takes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

OF_PROCESS = Path("/proc/self")
PEAK = "VmHWM"
FORGET_PEAK = "5"
"""What `clear_refs` takes for: the peak is what is resident now (Linux, `Documentation/filesystems/proc.rst`)."""


def begin() -> None:
    """Count from now on."""
    with suppress(OSError):
        (OF_PROCESS / "clear_refs").write_text(FORGET_PEAK, encoding="ascii")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak(device: torch.device) -> dict[str, int]:
    """The most bytes that were resident in this process, the libraries' own among them, and that tensors took on a GPU."""
    lines = dict(line.split(":", 1) for line in (OF_PROCESS / "status").read_text(encoding="ascii").splitlines())
    found = {"reference": int(lines[PEAK].split()[0]) * 1024}
    if device.type == "cuda":
        found["reference, GPU"] = torch.cuda.max_memory_allocated(device)
    return found
