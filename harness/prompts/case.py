"""A case: a layout, or a text with pictures, for a model."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE = "<|image|>"
DEFAULT_PICTURE_TEXT = "w40 w41 <|image|> w42 w43 w44"


@dataclass(frozen=True)
class Case:
    """A layout that is verified. Instead of it a text with images can go through both processors: ``picture`` is the
    (width, height) of a drawn one, ``images`` are files, each with `IMAGE` in the ``text``; of a ``chat`` the text is a user's
    message, which the images come before. ``seed`` draws the words and pictures of a layout."""

    name: str
    title: str
    layout: str = ""
    model: str = "tiny"
    picture: tuple[int, int] | None = None
    images: tuple[str, ...] = ()
    text: str | None = None
    seed: int = 0
    chat: bool = False
