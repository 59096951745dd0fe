"""A result as text for a failing test: layout, masks, diagnosis, command."""

from __future__ import annotations

import numpy as np

from harness.compare.result import CaseResult, LayerResult, decode_mask

WIDEST = 200
"""Tokens of the longest prompt whose masks are printed."""
LETTERS = {"text": "t", "image": "I", "video": "V", "audio": "A", "boi": "<", "eoi": ">", "boa": "(", "eoa": ")"}


def text(result: CaseResult) -> str:
    """What a person needs to see of a result that is not as expected."""
    lines = [f"{result.verdict}: {result.diagnosis}", f"layout: {result.layout}"]
    wrong = next((layer for layer in result.layers if layer.differs), None)
    if wrong and len(result.tokens) <= WIDEST:
        lines += [
            f"layer {wrong.index} ({wrong.type}), rows are queries: # both, . neither, - only reference, + only serving"
        ]
        lines += [mask_text(wrong, [token["kind"] for token in result.tokens])]
    if result.error:
        lines.append(result.error.log)
    return "\n".join([*lines, f"reproduce: {result.reproduce}"])


def mask_text(layer: LayerResult, kinds: list[str]) -> str:
    """Both masks of a layer in one picture."""
    reference, serving = (decode_mask(layer.masks[side], len(kinds)) for side in ("reference", "serving"))
    signs = np.array([".", "+", "-", "#"])[reference * 2 + serving]
    letters = "".join(LETTERS[kind] for kind in kinds)
    rows = [f"{query:4} {letters[query]} {''.join(row)}" for query, row in enumerate(signs)]
    return "\n".join([f"       {letters}", *rows])
