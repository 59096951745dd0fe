"""The mask in attention weights that were taken where an implementation computes them, with its queries 0.

That is what `harness.masks.probe` recovers from a kernel's output, for implementations in which the weights themselves can be
seen: each of the |A| keys that a query may attend has the weight 1/|A|, every other one 0. NumPy is all that this needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from harness.errors import FailureKind


class ProbeError(RuntimeError):
    """The weights did not come out as 1/|A|, or 1/(|A| + m); nothing can be said about the mask."""

    kind: ClassVar = FailureKind.PROBE


def slack(epsilon: float) -> float:
    """How far a weight may be off 1/|A|, relative to it, in a dtype of this ``epsilon``.

    1.25 epsilon of a 16-bit dtype: half for the rounding of the output and, where the weights are rounded before (eager
    attention) or their sum is (a softmax in 16 bits), another half. In float32, whose sums of up to thousands of weights are
    not exact, 64.
    """
    return 1.25 * epsilon if epsilon > 1e-4 else 64 * epsilon


@dataclass(frozen=True)
class Weights:
    """What is kept of the weights of a layer: ``mask``, bit-packed uint8 (rows, heads, bytes), and of each row and head the
    ``count`` of keys with a weight, the ``least`` and the ``most`` of those."""

    mask: np.ndarray
    count: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, weights: Any, array: Any = np) -> Weights:
        """From weights (rows, heads, keys); ``array`` is the module that computes, NumPy or one that speaks as it does."""
        attended = weights != 0
        return cls(
            array.packbits(attended, axis=-1),
            attended.sum(axis=-1),
            array.where(attended, weights, array.inf).min(axis=-1),
            weights.max(axis=-1),
        )

    def first(self, tokens: int) -> Weights:
        """Of a prompt's ``tokens``, where it is padded.

        Raises:
            ProbeError: one of them attends to the padding.
        """
        mask, size = np.asarray(self.mask)[:tokens], math.ceil(tokens / 8)
        if mask[..., size:].any() or (mask[..., size - 1] & (0xFF >> ((tokens - 1) % 8 + 1))).any():
            raise ProbeError(f"a key after the last of the prompt's {tokens} tokens is attended")
        return Weights(mask[..., :size], *(one[:tokens] for one in (self.count, self.least, self.most)))

    def recovered(self, kv_heads: int, epsilon: float) -> np.ndarray:
        """The mask, uint8 (KV head groups, rows, bytes), of weights that were computed in a dtype of this ``epsilon``.

        Raises:
            ProbeError: some row's weights are not all 1/|A|, or the query heads of a KV head group do not agree.
        """
        mask, count = np.asarray(self.mask), np.asarray(self.count)
        least, most = (np.asarray(one).astype(np.float32) for one in (self.least, self.most))
        off = np.maximum(np.abs(least * count - 1), np.abs(most * count - 1))
        wrong = ~((off <= slack(epsilon)) & (count > 0))
        if wrong.any():
            row, head = map(int, np.argwhere(wrong)[0])
            raise ProbeError(
                f"the weights of {int(wrong.any(axis=-1).sum())} rows are not 1/|A|; the first is row {row}, head {head}: "
                f"{count[row, head]} keys with weights from {least[row, head]:.5g} to {most[row, head]:.5g}"
            )
        grouped = mask.reshape(len(mask), kv_heads, -1, mask.shape[-1])
        apart = (grouped != grouped[:, :, :1]).any(axis=(-1, -2))
        if apart.any():
            row, group = map(int, np.argwhere(apart)[0])
            raise ProbeError(f"the query heads of KV head group {group} do not agree in row {row}")
        return grouped[:, :, 0].transpose(1, 0, 2)
