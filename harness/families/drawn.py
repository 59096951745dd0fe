"""From a layout to token ids and items, as every family has them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from harness.errors import UsageError
from harness.prompts.layout import TYPES, Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Item, Prompt

UNUSED = 512
"""Ids below it are control tokens and unused ones in Gemma's vocabulary; words are drawn from here on, if there are as many."""


def check_length(layout: Layout, spec: ModelSpec, field: str) -> None:
    """Raise UsageError for a layout that is longer than the model takes, with room for one more token."""
    if len(layout) > spec.max_length - 1:
        raise UsageError(
            field,
            str(layout),
            f"it has {len(layout)} tokens; the model {spec.name} takes at most {spec.max_length - 1}",
        )


def check_steps(steps: int, tokens: int, spec: ModelSpec) -> None:
    """Raise UsageError where the model does not take as many ``steps`` behind a prompt of ``tokens``."""
    most = spec.max_length - 1 - tokens
    if steps > most:
        why = f"the prompt has {tokens} tokens, the model {spec.name} takes {spec.max_length - 1}"
        raise UsageError("decode", steps, f"at most {most}: {why}")


def words_of(vocab: int, ids: Mapping[str, int], first_word: int) -> tuple[int, int]:
    """The ids (first, end) of a given checkpoint's words, which lie below those of its special tokens, ``ids``; in a vocabulary
    that is small from ``first_word`` on. There are none where the end is not behind the first."""
    first = UNUSED if vocab >= 2 * UNUSED else first_word
    return first, min([vocab, *(number for number in ids.values() if number >= first)])


def prompt_of(
    layout: Layout, ids: Mapping[str, int], words: tuple[int, int], seed: int, cut: tuple[int, ...] = ()
) -> Prompt:
    """The prompt of a layout: ``ids`` are those of tokens by their kinds, text is drawn from ``words`` (first, end),
    and ``cut`` is that of every item."""
    drawn = np.random.default_rng([seed, 1]).integers(*words, size=len(layout))
    texts = iter(drawn.tolist())
    token_ids: list[int] = []
    types: list[int] = []
    items: list[Item] = []
    for segment in layout.segments:
        kinds = [kind for kind, _ in segment.tokens()]
        if segment.form != "t":
            embedded = tuple(place for place, kind in enumerate(kinds) if kind == segment.kind)
            content = zlib.crc32(f"{seed} {len(items)} {segment}".encode())
            shape = (len(token_ids), len(kinds), embedded, segment.soft, segment.frames)
            items.append(Item(segment.kind, *shape, content, cut))
        token_ids += [ids[kind] if kind in ids else next(texts) for kind in kinds]
        types += [TYPES.get(kind, 0) for kind in kinds]
    return Prompt(tuple(token_ids), tuple(types), tuple(items))
