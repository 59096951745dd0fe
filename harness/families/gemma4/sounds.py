"""How many soft tokens both processors will make of a clip of audio."""

from __future__ import annotations

from harness.errors import UsageError

FRAME, HOP = 0.020, 0.010
"""Seconds of a mel frame, and from one to the next (transformers `feature_extraction_gemma4.py`)."""
HALVED = 2
"""Convolutions that halve the number of frames."""


def soft_tokens(name: str, samples: int, rate: int) -> int:
    """How many soft tokens a clip becomes (vLLM `gemma4_mm.py`, `_compute_audio_num_tokens`, but for its upper bound).

    Raises:
        UsageError: it is too short to become one.
    """
    frame, hop = round(rate * FRAME), round(rate * HOP)
    found = (samples + frame // 2 - frame - 1) // hop + 1
    if found < 1:
        raise UsageError(
            "audio", name, f"at least {frame // 2 + 1} samples, of which one soft token becomes; it has {samples}"
        )
    for _ in range(HALVED):
        found = (found - 1) // 2 + 1
    return found
