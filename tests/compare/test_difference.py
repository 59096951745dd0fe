"""Where two masks differ, in counts and in the first pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compare.masks import Difference
from harness.compare.result import decode_mask, encode_mask
from harness.prompts.layout import Layout

LAYOUT = Layout.parse("t1 i2 t1")
TOKENS = len(LAYOUT)


@st.composite
def masks(draw: st.DrawFn, groups: int = 2) -> np.ndarray:
    bits = draw(st.lists(st.booleans(), min_size=groups * TOKENS**2, max_size=groups * TOKENS**2))
    return np.array(bits).reshape(groups, TOKENS, TOKENS)


@given(masks(), masks())
def test_missing_and_extra_are_the_pairs_of_the_group_that_differs_most(
    reference: np.ndarray, serving: np.ndarray
) -> None:
    difference = Difference(reference, serving)
    counts = [int((reference[g] ^ serving[g]).sum()) for g in range(len(reference))]
    assert difference.missing.sum() + difference.extra.sum() == max(counts)
    assert difference.groups_that_differ == [g for g, count in enumerate(counts) if count]
    assert difference.equal == (max(counts) == 0)
    assert not (difference.missing & difference.extra).any()


@given(masks(1), masks(1))
def test_the_first_difference_comes_first_by_query_then_key(reference: np.ndarray, serving: np.ndarray) -> None:
    first = Difference(reference, serving).first(LAYOUT)
    pairs = [(q, k) for q in range(TOKENS) for k in range(TOKENS) if reference[0, q, k] != serving[0, q, k]]
    assert (first is None) == (not pairs)
    if first:
        assert (first["query"], first["key"]) == pairs[0]
        assert first["kind"] == ("missing" if reference[0][pairs[0]] else "extra")


def test_the_first_difference_is_told_in_token_terms() -> None:
    reference = np.zeros((1, TOKENS, TOKENS), dtype=bool)
    serving = reference.copy()
    reference[0, 2, 3], serving[0, 4, 0] = True, True
    assert Difference(reference, serving).first(LAYOUT)["text"] == (
        "query 2 = image 1, soft token 1, key 3 = image 1, soft token 2: the reference attends, serving does not"
    )
    assert Difference(serving, reference).first(LAYOUT)["kind"] == "extra"


def test_masks_of_different_sizes_are_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match="2 KV head groups of 5 tokens, serving 1 of 5"):
        Difference(np.zeros((2, 5, 5), dtype=bool), np.zeros((1, 5, 5), dtype=bool))


@given(masks(1))
def test_a_mask_in_a_result_is_read_back(mask: np.ndarray) -> None:
    assert np.array_equal(decode_mask(encode_mask(mask[0]), TOKENS), mask[0])
