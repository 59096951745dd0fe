"""Layouts: what kind of token stands at each position of a prompt.

A layout is written as segments separated by blanks:

========  =====================================================================
``t3``    text of 3 tokens
``i5``    an image of 5 soft tokens, wrapped in boi and eoi as real prompts are
``I5``    an image of 5 soft tokens without boi and eoi
``v2x7``  a video of 2 frames of 7 soft tokens; each frame is a timestamp token,
          boi, the soft tokens, eoi
``a6``    audio of 6 soft tokens, wrapped in boa and eoa
========  =====================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from harness.errors import UsageError

FORMS = (
    "segments are t3 (text), i5 (image), I5 (image without boi/eoi), v2x7 (video), a6 (audio), each count at least 1"
)
LONGEST = 1 << 20
"""Tokens of the longest layout, four times the context of the largest Gemma 4."""
LONGEST_FRAME = 70
"""The most soft tokens of a video's frame (vllm `gemma4_mm.py`, `_VIDEO_MAX_SOFT_TOKENS`)."""
_SEGMENT = re.compile(r"(?:([tiIa])([1-9][0-9]*)|v([1-9][0-9]*)x([1-9][0-9]*))\Z")
_WORD = 24
"""Characters of the longest segment that is read."""
TYPES = {"image": 1, "video": 2, "audio": 3}
"""The `mm_token_type_ids` of transformers for soft tokens; all other tokens have 0."""
_NAMES = {"t": "text", "i": "image", "I": "image", "v": "video", "a": "audio"}


@dataclass(frozen=True)
class Segment:
    """One segment: ``form`` is its letter, ``soft`` the tokens (a frame's, for a video), ``frames`` 1 but for videos."""

    form: str
    soft: int
    frames: int = 1

    def __str__(self) -> str:
        return f"v{self.frames}x{self.soft}" if self.form == "v" else f"{self.form}{self.soft}"

    @property
    def kind(self) -> str:
        return _NAMES[self.form]

    def __len__(self) -> int:
        return self.frames * (self.soft + {"t": 0, "I": 0, "v": 3}.get(self.form, 2))

    def tokens(self) -> list[tuple[str, int]]:
        """(kind, frame) of each token in order."""
        if self.form == "t":
            return [("text", 0)] * self.soft
        if self.form == "I":
            return [("image", 0)] * self.soft
        if self.form == "a":
            return [("boa", 0), *[("audio", 0)] * self.soft, ("eoa", 0)]
        if self.form == "i":
            return [("boi", 0), *[("image", 0)] * self.soft, ("eoi", 0)]
        frame = [["text", "boi", *["video"] * self.soft, "eoi"] for _ in range(self.frames)]
        return [(kind, index) for index, kinds in enumerate(frame) for kind in kinds]


@dataclass(frozen=True)
class Span:
    """The inclusive range of positions of the soft tokens of one image, one video frame or one audio clip.

    ``segment`` is the index of the segment in the layout, ``number`` counts the segments of this
    kind from 1, ``frame`` counts a video's frames from 0.
    """

    kind: str
    number: int
    frame: int
    segment: int
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start + 1

    @property
    def name(self) -> str:
        frame = f", frame {self.frame + 1}" if self.kind == "video" else ""
        return f"{self.kind} {self.number}{frame}"


@dataclass(frozen=True)
class Token:
    """One position: its kind (text, image, video, audio, boi, eoi, boa, eoa), its segment, and a name for people."""

    position: int
    kind: str
    segment: int
    name: str


@dataclass(frozen=True)
class Layout:
    """A sequence of segments; ``Layout.parse(str(layout)) == layout``."""

    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, text: str, field: str = "layout") -> Layout:
        """Read the notation; ``field`` is what an error calls it.

        Raises:
            UsageError: ``text`` is empty or a segment is not of one of the forms.
        """
        words = text.split()
        if not words:
            raise UsageError(field, text, FORMS)
        segments = []
        for word in words:
            match = _SEGMENT.match(word) if len(word) <= _WORD else None
            if not match:
                raise UsageError(f"{field} segment", word, FORMS)
            form, count, frames, soft = match.groups()
            segments.append(Segment("v", int(soft), int(frames)) if frames else Segment(form, int(count)))
        if sum(map(len, segments)) > LONGEST:
            raise UsageError(field, text, f"it has at most {LONGEST} tokens")
        return cls(tuple(segments))

    def __str__(self) -> str:
        return " ".join(map(str, self.segments))

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    def continued(self, tokens: int) -> Layout:
        """With ``tokens`` of text behind it, in a segment of their own."""
        return Layout((*self.segments, Segment("t", tokens))) if tokens else self

    @cached_property
    def vision(self) -> tuple[tuple[int, int], ...]:
        """The first and the last position of each image and each frame of a video: to a mask, audio is text."""
        return tuple((span.start, span.end) for span in self.spans if span.kind != "audio")

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        spans: list[Span] = []
        numbers: dict[str, int] = {}
        position = 0
        for index, segment in enumerate(self.segments):
            kinds = segment.tokens()
            if segment.form != "t":
                numbers[segment.kind] = numbers.get(segment.kind, 0) + 1
                for frame in range(segment.frames):
                    at = [p for p, token in enumerate(kinds) if token == (segment.kind, frame)]
                    number = numbers[segment.kind]
                    spans.append(Span(segment.kind, number, frame, index, position + at[0], position + at[-1]))
            position += len(kinds)
        return tuple(spans)

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        soft = {p: span for span in self.spans for p in range(span.start, span.end + 1)}
        tokens: list[Token] = []
        for index, segment in enumerate(self.segments):
            for kind, _ in segment.tokens():
                position = len(tokens)
                span = soft.get(position)
                name = f"{span.name}, soft token {position - span.start + 1}" if span else kind
                tokens.append(Token(position, kind, index, name))
        return tuple(tokens)

    @property
    def token_types(self) -> list[int]:
        """``mm_token_type_ids`` of transformers: those of `TYPES`, and 0."""
        return [TYPES.get(token.kind, 0) for token in self.tokens]

    @property
    def kinds(self) -> set[str]:
        return {segment.kind for segment in self.segments}
