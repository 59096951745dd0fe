"""Serving's logits against the truth of a reference, in the form in which serving gave them."""

from __future__ import annotations

import numpy as np

from harness.captures.read import Capture
from harness.compare import logits
from harness.compare.result import LogitsResult

FLOOR = ("logits", "again.logits")
"""The reference in the serving dtype, with one or two attention implementations: samples of the noise floor."""


def against(
    reference: Capture, serving: Capture, *floor: str, ours: str = "", rows: np.ndarray | None = None
) -> LogitsResult:
    """Serving's logits against the truth of a ``reference``, whose tensors called ``floor``, or `FLOOR`, are samples of the noise
    floor; at positions ``rows``, boolean (N,), alone where they are given. Where ``ours`` is given it is the reference's own tensor
    of this name that is judged.

    Where positions were not observed, their logits are those of the sampler: tokens that are suppressed after the model are left
    out, and log-probabilities are compared with log-probabilities. Where a server told those of some tokens alone, the others have
    no error on any side, so that the noise floor is of the same tokens."""
    theirs = reference.tensors
    columns = _columns(serving, min(theirs["truth.logits"].shape[-1], serving.tensors["logits"].shape[-1]))

    def form(rows: np.ndarray, dtype: type) -> np.ndarray:
        kept = rows[:, columns]
        return log_probabilities(kept.astype(dtype)) if serving.facts.log_probabilities else kept

    truth = form(theirs["truth.logits"], np.float64)
    told = serving.tensors["told"][:, columns].astype(bool) if "told" in serving.tensors else None

    def told_of(rows: np.ndarray) -> np.ndarray:
        return rows if told is None else np.where(told, rows, truth)

    of_serving = serving.tensors["logits"]
    judged = form(theirs[ours] if ours else of_serving, np.float32) if ours or told is None else of_serving[:, columns]
    return logits.compare(
        truth,
        [told_of(form(theirs[name], np.float32)) for name in floor or FLOOR if name in theirs],
        told_of(judged),
        serving.answered if rows is None else serving.answered & rows,
        reference.facts.logits_at,
        told_of(form(theirs["routed.logits"], np.float64)) if "routed.logits" in theirs else None,
    )


def log_probabilities(rows: np.ndarray) -> np.ndarray:
    """Of logits (rows, V) in their own dtype, as a sampler makes them; of log-probabilities the same."""
    shifted = rows - rows.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _columns(serving: Capture, width: int) -> np.ndarray | slice:
    """The tokens that are compared."""
    suppressed = serving.facts.after.suppressed
    if not suppressed or np.array_equal(serving.observed_in_all, serving.computed):
        return slice(width)
    return np.setdiff1d(np.arange(width), suppressed)
