"""The formulas by which releases mask, as boolean (queries, keys) matrices.

W is the sliding window, q a query position, k a key position, ``same(q, k)`` says that both lie in
one span. Sources: transformers `masking_utils.py` and `models/gemma4/modeling_gemma4.py` (5.12 and
5.13, PR #46850); vLLM PR #40534 and #47217, `v1/attention/ops/triton_attention_helpers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

FLEX = "FLEX_ATTENTION"
FLEX_BLOCK = 16
"""Queries in a tile and keys in a block of vLLM's FlexAttention (`_get_block_sizes`; the KV cache's kernel block)."""

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Grid:
    """The coordinates of a mask: ``q`` (queries, 1), ``k`` (1, keys), ``same`` (queries, keys), ``window`` tokens."""

    q: np.ndarray
    k: np.ndarray
    same: np.ndarray
    window: int

    @classmethod
    def of(cls, tokens: int, spans: Spans, window: int) -> Grid:
        position = np.arange(tokens)
        same = np.zeros((tokens, tokens), dtype=bool)
        for start, end in spans:
            same[start : end + 1, start : end + 1] = True
        return cls(position[:, None], position[None, :], same, window)

    @property
    def causal(self) -> np.ndarray:
        return self.k <= self.q

    @property
    def past(self) -> np.ndarray:
        """Not further back than the window: `q - k < W`; every later key is inside."""
        return self.q - self.k < self.window


@dataclass(frozen=True)
class Policy:
    """A named formula: what sliding layers and full layers let through."""

    name: str
    sentence: str
    guarded: bool = False
    """A span longer than the window counts as text."""
    backend: str = ""
    """The only attention back end of vLLM that masks so."""

    def mask(self, tokens: int, spans: Spans, window: int, *, sliding: bool) -> np.ndarray:
        """The boolean (tokens, tokens) mask; ``spans`` are inclusive ranges, ``window`` is in tokens."""
        if self.guarded:
            spans = [(start, end) for start, end in spans if end - start + 1 <= window]
        grid = Grid.of(tokens, spans, window)
        return _SLIDING[self.name](grid) if sliding else _FULL.get(self.name, lambda g: g.causal)(grid)


def _blocks(g: Grid) -> np.ndarray:
    """FlexAttention: a tile of queries visits the blocks of keys from the one where its first query's window begins to
    the one of its last query; image ranges add none (vLLM `flex_attention.py`, `_build_block_mask_direct`)."""
    tile, block = g.q // FLEX_BLOCK, g.k // FLEX_BLOCK
    first = np.maximum(tile * FLEX_BLOCK - g.window + 1, 0) // FLEX_BLOCK
    return (g.causal & g.past) | (g.same & (first <= block) & (block <= tile))


_SLIDING = {
    "clamp": lambda g: (g.causal | g.same) & g.past,
    "drop": lambda g: (g.causal | g.same) & g.past,
    "unclamped": lambda g: (g.causal & g.past) | g.same,
    "symmetric": lambda g: (g.causal | g.same) & g.past & (g.k - g.q < g.window),
    "causal": lambda g: g.causal & g.past,
    "no-window": lambda g: g.causal | g.same,
    "full-causal": lambda g: g.causal & True,
    "everywhere": lambda g: (g.causal & g.past) | g.same,
    "window-plus-one": lambda g: (g.causal | g.same) & (g.q - g.k <= g.window),
    "bidirectional": lambda g: g.past & (g.k - g.q < g.window),
    "causal-blocks": _blocks,
    "causal-blocks-drop": _blocks,
}
_FULL = {
    "everywhere": lambda g: g.causal | g.same,
    "bidirectional": lambda g: np.ones_like(g.same),
}

POLICIES = {
    policy.name: policy
    for policy in (
        Policy("clamp", "the tokens of one image see each other, within the window"),
        Policy("drop", "as clamp, but an image longer than the window is left causal", guarded=True),
        Policy("causal", "the image ranges are ignored"),
        Policy("unclamped", "the tokens of one image see each other however far"),
        Policy("everywhere", "as unclamped, and on full layers too"),
        Policy("symmetric", "as clamp, but the window bounds the later tokens of the image too"),
        Policy("no-window", "as unclamped, and text is not bounded by the window either"),
        Policy("full-causal", "neither window nor image ranges: plain causal"),
        Policy("window-plus-one", "as clamp with a window one token too wide"),
        Policy("bidirectional", "every token sees later tokens, text as well"),
        Policy("causal-blocks", "as unclamped, but without the blocks of 16 keys that the causal window leaves out", backend=FLEX),
        Policy("causal-blocks-drop", "as causal-blocks, but an image longer than the window is left causal", True, FLEX),
    )
}


def explanations(
    mask: np.ndarray, spans: Spans, window: int, names: Iterable[str], *, sliding: bool, rows: np.ndarray | slice = slice(None),
    visible: np.ndarray | None = None,
) -> Iterator[str]:
    """Those of ``names``, in order, whose policy gives exactly this (tokens, tokens) mask in ``rows``; of ``visible`` pairs
    alone, if it is given."""
    for name in names:
        wanted = _mask(name, len(mask), tuple(spans), window, sliding)
        if np.array_equal(mask[rows], (wanted if visible is None else wanted & visible)[rows]):
            yield name


@lru_cache(maxsize=8)
def _mask(name: str, tokens: int, spans: Spans, window: int, sliding: bool) -> np.ndarray:
    return POLICIES[name].mask(tokens, spans, window, sliding=sliding)
