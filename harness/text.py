"""Text of unknown origin, as it may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
"""What moves the cursor, turns the direction of text or cannot be seen, and what XML 1.0 forbids."""
_BREAK = re.compile("[\t\n\u2028\u2029]")


def plain(text: object) -> str:
    """``text`` with line ends as ``\\n``, and what would act instead of being read made visible: an escape character is
    written ``\\x1b``, a bidirectional control ``<U+202E>``, which no JSON or script takes for the character itself."""
    return _CONTROL.sub(_visible, str(text).replace("\r\n", "\n").replace("\r", "\n"))


def uncoloured(log: str) -> str:
    """A log without the colours that a library gave it for a terminal."""
    return _COLOUR.sub("", log)


def unbroken(text: object) -> str:
    """`plain` text in which what ends a line, and a tabulator, are written out too."""
    return _BREAK.sub(_visible, plain(text))


def one_line(text: object, longest: int = 500) -> str:
    """`plain` text in one line, cut after so many characters."""
    return cut(" ".join(plain(text).split()), longest)


def cut(text: str, longest: int) -> str:
    """``text``, or its beginning and how much of it was left out."""
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text) - longest} more characters)"


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0xA0 else f"<U+{code:04X}>"


def quoted(value: object, longest: int = 80) -> str:
    """A value that somebody gave, as a Python literal: there a backslash of the value and one of an escape are told apart, and a
    value that is no text is seen to be none. Of one of more than ``longest`` characters its beginning and how many they are."""
    shown = unbroken(repr(value))
    return shown if len(shown) <= longest else f"{shown[:longest]}... ({len(shown)} characters)"


def listed(names: Iterable[object], most: int = 3) -> str:
    """The first ``most`` of them in order, and how many more there are: `a, b, c and 4 more`."""
    words = [str(name) for name in names]
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
