"""The verdicts, and everything that is known of each."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a case came to. ``meaning`` is a sentence for people; ``exit_code`` is that of a command whose gravest verdict it
    is; ``style`` is rich's, for terminals. The members stand in the order in which reports list them, the gravest first.
    """

    meaning: str
    exit_code: int
    style: str

    def __new__(cls, name: str, *facts: Any) -> Verdict:
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning, member.exit_code, member.style = facts
        return member

    DIVERGED = "DIVERGED", "the two sides differ and no declaration covers it", 1, "bold red"
    SURVIVED = "SURVIVED", "a planted fault was not seen", 1, "bold red"
    ERROR = "ERROR", "no answer: a driver failed, or there is nothing to judge by", 3, "bold yellow"
    FIXED = "FIXED", "a declared divergence is gone", 1, "magenta"
    KNOWN = "KNOWN", "exactly the declared divergence", 0, "cyan"
    CAUGHT = "CAUGHT", "a planted fault was seen, as it should be", 0, "green"
    PASS = "PASS", "masks equal, logits within the noise floor", 0, "green"

    @property
    def as_expected(self) -> bool:
        return self.exit_code == 0

    @property
    def diverges(self) -> bool:
        """Whether it is an answer, and not the expected one."""
        return self.exit_code == 1

    @property
    def severity(self) -> int:
        """Its place in reports: 0 is the gravest."""
        return list(Verdict).index(self)

    @property
    def planted(self) -> bool:
        """Whether it is of a fault that was planted."""
        return self in (Verdict.SURVIVED, Verdict.CAUGHT)
