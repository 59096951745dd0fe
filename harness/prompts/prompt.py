"""What one request is: the prompt that both sides are given."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Item:
    """One image, video or audio clip: its placeholder (``offset``, ``length``) and what fills it.

    ``embedded`` are the offsets, inside the placeholder, of the soft tokens; ``seed`` draws the content. ``cut`` is how the
    model cuts pictures, as its family has it; empty where that is as in presets.
    """

    modality: str
    offset: int
    length: int
    embedded: tuple[int, ...]
    soft: int
    frames: int
    seed: int
    cut: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """What one request is: ``token_ids`` and ``token_types`` over positions, and the items. ``text`` and the files of its
    ``images``, ``videos`` and ``clips`` of audio stand for all of them where these go through both processors, and of a ``chat``
    through the chat template too, as a user's message of the files, in this order, and the text. ``continuation`` are the tokens
    of text that both sides go on with, one a step, whatever they would have sampled."""

    token_ids: tuple[int, ...]
    token_types: tuple[int, ...]
    items: tuple[Item, ...]
    images: tuple[str, ...] = ()
    text: str | None = None
    continuation: tuple[int, ...] = ()
    chat: bool = False
    videos: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()

    @property
    def whole(self) -> Prompt:
        """A prompt of all tokens, with nothing to go on with; of a text they are not known."""
        types = (*self.token_types, *([0] * len(self.continuation)))
        return replace(self, token_ids=self.token_ids + self.continuation, token_types=types, continuation=())

    @property
    def digest(self) -> str:
        """Equal for equal prompts."""
        return hashlib.sha256(repr(self).encode()).hexdigest()
