"""The formulas by which releases mask, as boolean (queries, keys) matrices.

W is the sliding window, q a query position, k a key position, ``same(q, k)`` says that both lie in
one span. Sources: transformers `masking_utils.py` and `models/gemma4/modeling_gemma4.py` (5.12 and
5.13, PR #46850); vLLM PR #40534 and #47217, `v1/attention/ops/triton_attention_helpers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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


Formula = Callable[[Grid], np.ndarray]


def _causal(g: Grid) -> np.ndarray:
    return g.causal


@dataclass(frozen=True)
class Policy:
    """A named formula: what ``sliding`` layers and ``full`` layers let through, and all that is said of it.

    ``sentence`` says what it does, ``cause`` where a side that follows it goes wrong, with the change that brought or mended
    it, and ``effect`` what then happens to ``images`` (named) under ``window``. ``guarded``: a span longer than the window
    counts as text. ``backend`` is the only attention back end of vLLM that masks so; ``on_full`` says that full layers
    have a formula of their own, ``on_sliding`` that sliding layers have one. ``family`` is the only model family whose layers
    mask so.
    """

    name: str
    sentence: str
    sliding: Formula
    cause: str
    effect: str = "{images} concerned"
    full: Formula = _causal
    guarded: bool = False
    backend: str = ""
    on_full: bool = False
    on_sliding: bool = True
    family: str = ""

    def mask(self, tokens: int, spans: Spans, window: int, *, sliding: bool) -> np.ndarray:
        """The boolean (tokens, tokens) mask; ``spans`` are inclusive ranges, ``window`` is in tokens."""
        if self.guarded:
            spans = [(start, end) for start, end in spans if end - start + 1 <= window]
        grid = Grid.of(tokens, spans, window)
        return self.sliding(grid) if sliding else self.full(grid)


def _blocks(g: Grid) -> np.ndarray:
    """FlexAttention: a tile of queries visits the blocks of keys from the one where its first query's window begins to
    the one of its last query; image ranges add none (vLLM `flex_attention.py`, `_build_block_mask_direct`)."""
    tile, block = g.q // FLEX_BLOCK, g.k // FLEX_BLOCK
    first = np.maximum(tile * FLEX_BLOCK - g.window + 1, 0) // FLEX_BLOCK
    return (g.causal & g.past) | (g.same & (first <= block) & (block <= tile))


POLICIES = {
    policy.name: policy
    for policy in (
        Policy(
            "clamp", "the tokens of one image see each other, within the window",
            lambda g: (g.causal | g.same) & g.past,
            "the window and the image ranges are both applied",
        ),
        Policy(
            "drop", "as clamp, but an image longer than the window is left causal",
            lambda g: (g.causal | g.same) & g.past,
            "the range guard of PR #40534 skips them; vLLM #50539",
            "{images} longer than the window ({window}) left causal", guarded=True,
        ),
        Policy(
            "everywhere-drop", "as everywhere on full layers, but an image longer than the window is left causal there too",
            lambda g: (g.causal & g.past) | g.same,
            "the range guard skips them for all layers, and full layers have no window "
            "(docs/findings/vllm-gemma3-images-longer-than-the-window.md)",
            "{images} longer than the window ({window}) left causal where no window is",
            full=lambda g: g.causal | g.same, guarded=True, on_full=True, on_sliding=False, family="gemma3",
        ),
        Policy(
            "causal", "the image ranges are ignored",
            lambda g: g.causal & g.past,
            "no image range reaches the kernel: is the model an mm-prefix model, does the back end know ranges? vLLM #40106",
            "{images} left causal", on_full=True,
        ),
        Policy(
            "unclamped", "the tokens of one image see each other however far",
            lambda g: (g.causal & g.past) | g.same,
            "the kernel lets image ranges override the window: `mm_prefix_clamp_sliding_window` is not heeded; vLLM PR #47217",
            "{images} seen beyond the window ({window})",
        ),
        Policy(
            "everywhere", "as unclamped, and on full layers too",
            lambda g: (g.causal & g.past) | g.same,
            "the ranges of full layers are not cleared: `_clear_mm_prefix_for_full_attn_layers`; vLLM PR #40534",
            full=lambda g: g.causal | g.same, on_full=True,
        ),
        Policy(
            "clamp-both", "as clamp, but the window bounds the later tokens of the image too, as the official implementation does",
            lambda g: (g.causal | g.same) & g.past & (g.k - g.q < g.window),
            "the window bounds later tokens of the image too, as in google-deepmind/gemma 4.0.1 (`gm/nn/gemma4/_modules.py`); "
            "vLLM #49202",
            "{images} bounded by the window ({window}) on both sides",
        ),
        Policy(
            "no-window", "as unclamped, and text is not bounded by the window either",
            lambda g: g.causal | g.same,
            "the sliding window is not applied; vLLM #17180",
        ),
        Policy(
            "full-causal", "neither window nor image ranges: plain causal",
            _causal,
            "neither window nor ranges are applied; vLLM #17180",
        ),
        Policy(
            "window-plus-one", "as clamp with a window one token too wide",
            lambda g: (g.causal | g.same) & (g.q - g.k <= g.window),
            "the window is one token too wide; transformers #29623, vLLM #3385",
        ),
        Policy(
            "bidirectional", "every token sees later tokens, text as well",
            lambda g: g.past & (g.k - g.q < g.window),
            "the attention is not causal at all; transformers #46077",
            full=lambda g: np.ones_like(g.same), on_full=True,
        ),
        Policy(
            "causal-blocks", "as unclamped, but without the blocks of 16 keys that the causal window leaves out",
            _blocks,
            "FlexAttention's block mask is pruned causally before image ranges are looked at: `_build_block_mask_direct`; "
            "vLLM PR #27938",
            "{images} without the later tokens of other blocks", backend=FLEX,
        ),
        Policy(
            "causal-blocks-drop", "as causal-blocks, but an image longer than the window is left causal",
            _blocks,
            "FlexAttention's block mask is pruned causally (vLLM PR #27938), and the range guard skips long images (#50539)",
            "{images} without the later tokens of other blocks, or left causal", guarded=True, backend=FLEX,
        ),
    )
}  # fmt: skip
"""In the order in which an observed mask is compared with them."""


def explanations(
    mask: np.ndarray,
    spans: Spans,
    window: int,
    names: Iterable[str],
    *,
    sliding: bool,
    rows: np.ndarray | slice = slice(None),
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
