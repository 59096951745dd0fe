"""How much memory a reference takes."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

import torch

OF_PROCESS = Path("/proc/self")
PEAK = "VmHWM"
FORGET_PEAK = "5"
"""What `clear_refs` takes for: the peak is what is resident now (Linux, `Documentation/filesystems/proc.rst`)."""

MMAP_THRESHOLD, LARGE = -3, 1 << 20
"""glibc's `M_MMAP_THRESHOLD` (malloc.h), and how many bytes are given back as soon as they are freed."""


def give_back() -> None:
    """Let what is freed go back to the system. Else glibc learns from the first large blocks to keep those of up to 32 MiB in its
    heap (mallopt(3)), which then grows by every layer that is made and forgotten, though nothing of it is used."""
    with suppress(AttributeError):  # another libc
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)


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
