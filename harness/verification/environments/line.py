"""The points between a good and a bad one of a side, and each of them as something that runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from harness.errors import UsageError
from harness.verification.environments.commits import Commits
from harness.verification.environments.release import DISTRIBUTIONS, Release
from harness.verification.environments.store import discarded, interpreter, layered


class Line(Protocol):
    """What lies between two points. Points are named by text."""

    @property
    def good(self) -> str: ...

    @property
    def bad(self) -> str: ...

    def between(self, good: Sequence[str], bad: str) -> list[str]:
        """The points that come after every ``good`` one and before the ``bad`` one: the first halves them best."""

    def python(self, point: str) -> AbstractContextManager[str]:
        """The interpreter that runs a point; raises UsageError or EnvironmentFailure where there is none."""

    def title(self, point: str) -> str:
        """The point for people."""

    def named(self, point: str) -> str:
        """The point as ``--serving`` or ``--reference`` takes it."""

    def before(self, point: str) -> str:
        """What a command that runs the point does first."""


@dataclass(frozen=True)
class ReleaseLine:
    """Releases of one distribution, the oldest first."""

    side: str
    line: tuple[str, ...]

    @classmethod
    def of(cls, side: str, good: str, bad: str, known: Sequence[Release]) -> ReleaseLine:
        """Two releases and those ``known`` between them.

        Raises:
            UsageError: one is no release of this side, or the good one does not come before the bad one.
        """
        ends = []
        for field, text in (("good", good), ("bad", bad)):
            release = Release.parse(text, field)
            if release is None or release.name not in DISTRIBUTIONS[side]:
                raise UsageError(
                    field, text, f"a release such as {DISTRIBUTIONS[side][0]}==VERSION, or a commit of a tree"
                )
            ends.append(release)
        first, last = ends
        if first.name != last.name or first.number >= last.number:
            raise UsageError("bad", bad, f"a later release of {first.name} than the good one, {first}")
        inner = [str(one) for one in known if one.name == first.name and first.number < one.number < last.number]
        return cls(side, (str(first), *inner, str(last)))

    @property
    def good(self) -> str:
        return self.line[0]

    @property
    def bad(self) -> str:
        return self.line[-1]

    def between(self, good: Sequence[str], bad: str) -> list[str]:
        start, end = max(map(self.line.index, good)), self.line.index(bad)
        middle = (start + end) / 2
        return sorted(self.line[start + 1 : end], key=lambda point: abs(self.line.index(point) - middle))

    @contextmanager
    def python(self, point: str) -> Iterator[str]:
        yield interpreter(point, self.side)

    def title(self, point: str) -> str:
        return point

    def named(self, point: str) -> str:
        return point

    def before(self, point: str) -> str:
        return ""


@dataclass(frozen=True)
class CommitLine:
    """The commits of a source tree that change its package."""

    commits: Commits
    good: str
    bad: str

    @classmethod
    def of(cls, commits: Commits, good: str, bad: str) -> CommitLine:
        """The commits from ``good`` to ``bad``.

        Raises:
            UsageError: one is no commit, or the good one is not an ancestor of the bad one.
        """
        first, last = commits.named(good, "good"), commits.named(bad, "bad")
        if first == last or not commits.precedes(first, last):
            raise UsageError("bad", bad, f"a commit that has {good} behind it and another content of the package")
        return cls(commits, first, last)

    def between(self, good: Sequence[str], bad: str) -> list[str]:
        return self.commits.between(good, bad)

    @contextmanager
    def python(self, point: str) -> Iterator[str]:
        with self.commits.tree(point) as source:
            python = str(layered(source).python)
            try:
                yield python
            finally:
                discarded(python)

    def title(self, point: str) -> str:
        return self.commits.title(point)

    def named(self, point: str) -> str:
        return str(self.commits.source.tree)

    def before(self, point: str) -> str:
        return f"git -C {self.commits.source.tree} switch --detach {point[:12]} && "
