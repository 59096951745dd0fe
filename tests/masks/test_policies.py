"""The formulas, against loops written from the table of who masks how."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.masks.policies import POLICIES, explanations
from harness.prompts.layout import Layout
from harness.prompts.strategies import layouts, windows

Spans = list[tuple[int, int]]


def visited(q: int, k: int, w: int) -> bool:
    """FlexAttention's tile of 16 queries visits a block of 16 keys if one of its queries may attend it causally."""
    block = k // 16
    return any(
        16 * block <= one and block >= max(one - w + 1, 0) // 16 for one in range(q // 16 * 16, q // 16 * 16 + 16)
    )


SLIDING = {
    "clamp": lambda q, k, w, same, fits: (k <= q or same) and q - k < w,
    "drop": lambda q, k, w, same, fits: (k <= q or (same and fits)) and q - k < w,
    "unclamped": lambda q, k, w, same, fits: (k <= q and q - k < w) or same,
    "causal": lambda q, k, w, same, fits: k <= q and q - k < w,
    "everywhere": lambda q, k, w, same, fits: (k <= q and q - k < w) or same,
    "everywhere-drop": lambda q, k, w, same, fits: (k <= q and q - k < w) or (same and fits),
    "clamp-both": lambda q, k, w, same, fits: (k <= q or same) and abs(q - k) < w,
    "no-window": lambda q, k, w, same, fits: k <= q or same,
    "full-causal": lambda q, k, w, same, fits: k <= q,
    "window-plus-one": lambda q, k, w, same, fits: (k <= q or same) and q - k <= w,
    "bidirectional": lambda q, k, w, same, fits: abs(q - k) < w,
    "causal-blocks": lambda q, k, w, same, fits: (k <= q and q - k < w) or (same and visited(q, k, w)),
    "causal-blocks-drop": lambda q, k, w, same, fits: (k <= q and q - k < w) or (same and fits and visited(q, k, w)),
}
FULL = {
    "everywhere": lambda q, k, same, fits: k <= q or same,
    "everywhere-drop": lambda q, k, same, fits: k <= q or (same and fits),
    "bidirectional": lambda q, k, same, fits: True,
}


def spans_of(layout: Layout) -> Spans:
    return [(span.start, span.end) for span in layout.spans]


def slowly(name: str, tokens: int, spans: Spans, window: int, *, sliding: bool) -> np.ndarray:
    mask = np.zeros((tokens, tokens), dtype=bool)
    for q in range(tokens):
        for k in range(tokens):
            common = [(start, end) for start, end in spans if start <= q <= end and start <= k <= end]
            fits = any(end - start + 1 <= window for start, end in common)
            if sliding:
                mask[q, k] = SLIDING[name](q, k, window, bool(common), fits)
            else:
                mask[q, k] = FULL.get(name, lambda q, k, same, fits: k <= q)(q, k, bool(common), fits)
    return mask


def test_every_policy_has_its_loop() -> None:
    assert set(SLIDING) == set(POLICIES)


@pytest.mark.parametrize("sliding", [True, False])
@pytest.mark.parametrize("name", POLICIES)
@given(layout=layouts(max_tokens=40), window=windows(20))
def test_a_policy_is_its_formula(name: str, sliding: bool, layout: Layout, window: int) -> None:
    spans = spans_of(layout)
    fast = POLICIES[name].mask(len(layout), spans, window, sliding=sliding)
    assert fast.dtype == bool
    assert np.array_equal(fast, slowly(name, len(layout), spans, window, sliding=sliding))


@given(layouts(), windows())
def test_clamp_drop_and_unclamped_differ_only_where_a_span_exceeds_the_window(layout: Layout, window: int) -> None:
    clamp, drop, unclamped = (
        POLICIES[name].mask(len(layout), spans_of(layout), window, sliding=True)
        for name in ("clamp", "drop", "unclamped")
    )
    exceeds = any(len(span) > window for span in layout.spans)
    assert np.array_equal(clamp, drop) != exceeds
    assert np.array_equal(clamp, unclamped) != exceeds


@given(layouts(), windows(), st.sampled_from(sorted(POLICIES)), st.booleans())
def test_every_token_sees_itself(layout: Layout, window: int, name: str, sliding: bool) -> None:
    assert POLICIES[name].mask(len(layout), spans_of(layout), window, sliding=sliding).diagonal().all()


@given(layouts(), windows(), st.sampled_from(sorted(POLICIES)), st.booleans())
def test_a_mask_is_explained_by_the_policy_that_it_was_made_from(
    layout: Layout, window: int, name: str, sliding: bool
) -> None:
    spans = spans_of(layout)
    mask = POLICIES[name].mask(len(layout), spans, window, sliding=sliding)
    names = list(explanations(mask, spans, window, POLICIES, sliding=sliding))
    assert name in names
    assert names == [other for other in POLICIES if [*explanations(mask, spans, window, [other], sliding=sliding)]]
    for other in names:
        assert np.array_equal(mask, POLICIES[other].mask(len(layout), spans, window, sliding=sliding))


@given(layouts(), windows(), st.data())
def test_one_changed_pair_is_never_explained_by_the_same_policy(
    layout: Layout, window: int, data: st.DataObject
) -> None:
    spans = spans_of(layout)
    mask = POLICIES["clamp"].mask(len(layout), spans, window, sliding=True)
    positions = st.integers(0, len(layout) - 1)
    q, k = data.draw(positions), data.draw(positions)
    mask[q, k] = not mask[q, k]
    assert "clamp" not in explanations(mask, spans, window, POLICIES, sliding=True)


def test_the_likeliest_policy_comes_first() -> None:
    layout = Layout.parse("t3 i5 t4")
    mask = POLICIES["everywhere"].mask(len(layout), spans_of(layout), 8, sliding=True)
    assert next(explanations(mask, spans_of(layout), 8, POLICIES, sliding=True)) == "clamp"
