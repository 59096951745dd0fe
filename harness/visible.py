"""Text of unknown origin, as it may be shown on a terminal."""

from __future__ import annotations


def visible(text: str) -> str:
    """``text`` on one line, in which what a terminal would act on or not show is escaped: control characters, the
    bidirectional ones, lone surrogates, characters of no width."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def quoted(value: object, longest: int = 80) -> str:
    """The `repr` of a value that somebody gave, `visible`; of one of more than ``longest`` characters its beginning and
    how many they are."""
    shown = visible(repr(value))
    return shown if len(shown) <= longest else f"{shown[:longest]}... ({len(shown)} characters)"
