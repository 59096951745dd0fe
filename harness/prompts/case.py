"""A case: a layout, or a text with pictures, for a model."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE = "<|image|>"
VIDEO = "<|video|>"
AUDIO = "<|audio|>"
DEFAULT_PICTURE_TEXT = "w40 w41 <|image|> w42 w43 w44"


@dataclass(frozen=True)
class Case:
    """A layout that is verified. Instead of it a text with images, videos and audio can go through both processors: ``picture`` is
    the (width, height) of a drawn one, ``images``, ``videos`` and ``clips`` are files, each with `IMAGE`, `VIDEO` or `AUDIO` in the
    ``text``; of a ``chat`` the text is a user's message, which the files come before in this order. ``seed`` draws the words and
    pictures of a layout."""

    name: str
    title: str
    layout: str = ""
    model: str = "tiny"
    picture: tuple[int, int] | None = None
    images: tuple[str, ...] = ()
    text: str | None = None
    seed: int = 0
    chat: bool = False
    videos: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """Those that go through both processors, by their modality, in the order in which a message has them."""
        return {"image": self.images, "video": self.videos, "audio": self.clips}
