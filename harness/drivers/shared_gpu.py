"""A GPU that two sides share: torch keeps what its process freed, and the other one cannot have that."""

from __future__ import annotations

import torch

SCARCE = 4
"""Memory is scarce where less than one part in so many is free."""


def give_back(device: torch.device) -> None:
    """Give back what torch keeps of freed tensors, where memory is scarce on their ``device``: prompts of many lengths leave pieces
    of many sizes (docs/measurements.md has how much)."""
    if device.type != "cuda":
        return
    free, total = torch.cuda.mem_get_info(device)
    if free < total / SCARCE:
        torch.cuda.empty_cache()
