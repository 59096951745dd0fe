"""Logits by position, judged against the noise floor that was measured in the same run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.compare.result import LogitsResult

FACTOR = 4.0
"""How many times the reference's own error serving may have.

FlashAttention's tests allow 2 to 3 times the error of the low-precision reference, for one attention
call (`flash-attention/tests/test_flash_attn.py`). Here whole models are compared, whose other layers differ in
order of summation too, and the largest of thousands of errors is taken on both sides; README.md
says what ratio was measured.
"""


def compare(
    truth: np.ndarray,
    references: Sequence[np.ndarray],
    serving: np.ndarray,
    observed: np.ndarray,
    positions: Sequence[int],
    routed: np.ndarray | None = None,
) -> LogitsResult:
    """Compare logits (P, V) of the P ``positions`` of a prompt of N tokens: ``truth`` is the reference in the higher
    precision, ``references`` are the reference in the serving dtype, each with another attention implementation, the
    one whose masks were observed first. The floor of a position is the largest error among them, since one alone may
    by chance be right to the last bit, and a further one only raises the floor; an implementation whose error is `FACTOR`
    squared times the first's is not rounding and is left out. ``routed`` is the truth with ties of routers decided the
    other way, for a mixture of experts: how far from the truth it is belongs to the floor whatever its size.

    At each position serving may be off by `FACTOR` times the floor of that position or, where that is smaller, the
    median floor: how far rounding reaches differs between positions, in long prompts by an order of magnitude, but a
    single floor may be small by chance. Only positions that are ``observed`` (N,) count; the others have an error of 0.

    Where the reference has no number, NaN or infinite, there is nothing to be judged by; where serving alone has none its error is
    infinite. Neither is ``within``."""
    at = np.asarray(positions)
    sides = {"reference": [truth, references[0], *([] if routed is None else [routed])], "serving": [serving]}
    lost = {side: observed[at] & ~np.all([_finite(one) for one in every], axis=0) for side, every in sides.items()}
    not_finite = {
        "both": lost["reference"] & lost["serving"],
        "reference": lost["reference"] & ~lost["serving"],
        "serving": lost["serving"] & ~lost["reference"],
    }
    number = ~(lost["reference"] | lost["serving"])[:, None]
    if not number.all():
        truth, serving = (np.where(number, one, 0.0) for one in (truth, serving))
        references = [np.where(number, one, 0.0) for one in references]
        routed = None if routed is None else np.where(number, routed, 0.0)
    counts = observed[at] & ~lost["reference"]
    error = np.where(not_finite["serving"], np.inf, np.abs(serving - truth).max(axis=-1) * counts)
    samples = [np.abs(reference - truth).max(axis=-1) * counts for reference in references]
    rounding = [sample for sample in samples[1:] if sample.max() <= FACTOR**2 * samples[0].max()]
    ties = [] if routed is None else [np.abs(routed - truth).max(axis=-1) * counts]
    floor = np.max([samples[0], *rounding, *ties], axis=0)
    kl = _kl(truth, serving) * counts
    judged = counts & number[:, 0]
    base = np.maximum(floor, _median(floor[judged])) * counts
    ratio = np.divide(error, base, out=np.where(error == 0, 0.0, np.inf), where=base > 0)
    worst = int(ratio.argmax())
    middle = truth.mean(axis=-1)
    spread = np.maximum(truth.max(axis=-1) - middle, middle - truth.min(axis=-1))

    def by_position(values: np.ndarray) -> list[float]:
        every = np.zeros(len(observed))
        every[at] = values
        return every.tolist()

    return LogitsResult(
        max_abs_diff=float(error.max()),
        kl_mean=float(kl[judged].mean()) if judged.any() else 0.0,
        kl_max=float(kl.max()),
        top1_agreement=float((truth.argmax(-1) == serving.argmax(-1))[judged].mean()) if judged.any() else 0.0,
        noise_floor=float(floor.max()),
        samples=len(references),
        ratio=float(ratio[worst]),
        bound=float(FACTOR * base[worst]),
        within=bool(number[observed[at]].all() and ratio[worst] <= FACTOR),
        position_of_max=int(at[error.argmax()]),
        position_of_worst=int(at[worst]),
        by_position={
            "max_abs_diff": by_position(error),
            "kl": by_position(kl),
            "floor": by_position(floor),
            "bound": by_position(FACTOR * base),
        },
        floor_share=_median(samples[0][judged] / spread[judged]) if judged.any() and spread[judged].all() else 0.0,
        not_finite={side: at[places].tolist() for side, places in not_finite.items() if places.any()},
    )


def _finite(logits: np.ndarray) -> np.ndarray:
    """Which rows of logits (P, V) have numbers alone; extremes tell it without a copy of all that is looked at."""
    return np.isfinite(logits.max(axis=-1)) & np.isfinite(logits.min(axis=-1))


def _median(values: np.ndarray) -> float:
    """The median; 0 of none."""
    return float(np.median(values)) if len(values) else 0.0


def _kl(reference: np.ndarray, serving: np.ndarray) -> np.ndarray:
    """KL(reference || serving) in nats per position."""
    shifted = [logits.astype(np.float64) - logits.max(axis=-1, keepdims=True) for logits in (reference, serving)]
    weights = [np.exp(one) for one in shifted]
    sums = [each.sum(axis=-1, keepdims=True) for each in weights]
    apart = shifted[0] - shifted[1] + (np.log(sums[1]) - np.log(sums[0]))
    return np.maximum((weights[0] * apart).sum(axis=-1) / sums[0][..., 0], 0.0)
