"""Logits are judged against the error of the reference itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compare.logits import FACTOR, compare

ALL = np.ones(6, dtype=bool)
EVERY = range(6)


def drawn(seed: int, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (6, 9)).astype(np.float32)


def off(logits: np.ndarray, error: float) -> np.ndarray:
    """Logits with one entry off by ``error``."""
    changed = logits.astype(np.float64)
    changed[2, 3] += error
    return changed


@given(st.integers(0, 2**32))
def test_identical_logits_have_no_error(seed: int) -> None:
    truth = drawn(seed)
    result = compare(truth, [truth], truth, ALL, EVERY)
    assert (result.max_abs_diff, result.kl_mean, result.kl_max, result.noise_floor, result.bound) == (0, 0, 0, 0, 0)
    assert result.top1_agreement == 1.0 and result.within


@given(st.integers(0, 2**32), st.floats(0.01, 5))
def test_kl_is_that_of_the_two_distributions(seed: int, scale: float) -> None:
    truth, serving = drawn(seed), drawn(seed + 1, scale)
    result = compare(truth, [truth], serving, ALL, EVERY)
    for position in range(len(truth)):
        p, q = (np.exp(logits[position].astype(np.float64)) for logits in (truth, serving))
        p, q = p / p.sum(), q / q.sum()
        expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert result.by_position["kl"][position] == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.integers(0, 2**32), st.floats(1e-3, 30), st.floats(1e-3, 30))
def test_a_further_sample_only_raises_the_floor(seed: int, first: float, second: float) -> None:
    truth, serving = drawn(seed), drawn(seed) + drawn(seed + 1, 1.0)
    samples = [truth + drawn(seed + 2, first), truth + drawn(seed + 3, second)]
    one, two = (compare(truth, samples[:count], serving, ALL, EVERY) for count in (1, 2))
    assert (one.samples, two.samples) == (1, 2)
    assert all(a <= b for a, b in zip(one.by_position["bound"], two.by_position["bound"], strict=True))
    assert one.ratio >= two.ratio and one.within <= two.within


def test_kl_of_huge_logits_is_finite() -> None:
    truth = np.array([[1e4, 0.0], [-1e4, 0.0]])
    assert compare(truth, [truth], truth, np.ones(2, dtype=bool), range(2)).kl_max == 0


def test_serving_may_be_as_far_off_as_the_bound_and_no_further() -> None:
    truth, noise = drawn(0).astype(np.float64), 2.0**-10
    reference = off(truth, noise)
    assert compare(truth, [reference], off(truth, 0.99 * FACTOR * noise), ALL, EVERY).within
    assert not compare(truth, [reference], off(truth, 1.01 * FACTOR * noise), ALL, EVERY).within
    assert compare(truth, [reference], reference, ALL, EVERY).noise_floor == pytest.approx(noise)


def test_the_bound_comes_from_the_reference_and_not_from_serving() -> None:
    truth = drawn(0).astype(np.float64)
    small, large = (compare(truth, [off(truth, 0.01)], off(truth, error), ALL, EVERY).bound for error in (0.001, 100.0))
    assert small == large


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("side", ["serving", "reference"])
def test_what_is_not_finite_is_not_within(value: float, side: str) -> None:
    truth = drawn(0)
    sides = {"reference": off(truth, 0.1), "serving": truth}
    sides[side] = off(truth, value)
    assert not compare(truth, [sides["reference"]], sides["serving"], ALL, EVERY).within


def test_the_worst_position_is_named() -> None:
    truth = drawn(0)
    assert compare(truth, [truth], off(truth, 0.5), ALL, EVERY).position_of_max == 2
    assert compare(truth, [truth], off(truth, float("nan")), ALL, EVERY).position_of_max == 2


def test_a_position_is_judged_by_its_own_floor() -> None:
    """A large floor elsewhere excuses nothing; a floor below the median counts as the median."""
    truth = np.zeros((6, 9))
    reference, serving = truth + 0.01, truth.copy()
    reference[0], reference[1], serving[4] = 1.0, 0.0001, 0.05
    result = compare(truth, [reference], serving, ALL, EVERY)
    assert not result.within and result.position_of_worst == 4 and result.ratio == pytest.approx(5)
    serving[4], serving[1], serving[0] = 0.0, 0.039, 3.9
    assert compare(truth, [reference], serving, ALL, EVERY).within


def test_positions_that_were_not_observed_do_not_count() -> None:
    truth, observed = drawn(0), ALL.copy()
    observed[2] = False
    result = compare(truth, [truth], off(truth, 5.0), observed, EVERY)
    assert result.within and result.max_abs_diff == 0 and result.kl_max == 0 and result.top1_agreement == 1.0


def test_the_floor_is_the_larger_of_two_samples() -> None:
    truth = np.ones((6, 8))
    small, large = off(truth, 0.001), off(truth, 0.003)
    assert compare(truth, [small, large], truth, ALL, EVERY).noise_floor == pytest.approx(0.003)


def test_a_second_sample_that_is_no_rounding_is_left_out() -> None:
    truth = np.ones((6, 8))
    assert compare(truth, [off(truth, 0.001), off(truth, 0.5)], truth, ALL, EVERY).noise_floor == pytest.approx(0.001)
