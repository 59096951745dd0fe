"""The commits of a source tree: which of them lie between two, and each as a tree of its own beside the checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import EnvironmentFailure, UsageError
from harness.verification.environments.source import Source
from harness.verification.workplace import Workplace


@dataclass(frozen=True)
class Commits:
    """Those of the repository of ``source`` that change its package. What is checked out there stays as it is."""

    source: Source

    def named(self, text: str, field: str) -> str:
        """The full hash of the commit that ``text`` names, or of the last one before it that changes the package.

        Raises:
            UsageError: the tree has no such commit.
        """
        done = self._git("rev-list", "-1", "--end-of-options", text, "--", ".")
        found = done.stdout.strip()
        if done.returncode or not found:
            raise UsageError(field, text, f"a commit, tag or branch of {self.source.tree} that has the package")
        return found

    def precedes(self, one: str, other: str) -> bool:
        """Whether ``one`` is an ancestor of ``other``."""
        return self._git("merge-base", "--is-ancestor", one, other).returncode == 0

    def between(self, good: Sequence[str], bad: str) -> list[str]:
        """Commits that ``bad`` has and none of ``good``, but for itself: the first one halves them best, as `git bisect` says."""
        done = self._git("rev-list", "--bisect-all", bad, *(f"^{one}" for one in good), "--", ".")
        if done.returncode:
            raise EnvironmentFailure(f"{self.source.tree}: git cannot list the commits: {done.stderr.strip()}")
        return [line.split()[0] for line in done.stdout.splitlines() if line.split()[0] != bad]

    def title(self, commit: str) -> str:
        """Its short hash and subject."""
        return self._git("show", "--no-patch", "--format=%h %s", commit).stdout.strip()

    @contextmanager
    def tree(self, commit: str) -> Iterator[Source]:
        """The files of a commit in a folder of their own.

        Raises:
            EnvironmentFailure: git cannot check it out, or it has no package.
        """
        place = Workplace()
        folder = place.path / "tree"
        try:
            done = self._git("worktree", "add", "--detach", "--force", "--quiet", str(folder), commit)
            found = Source.found(str(folder), self.source.side)
            if done.returncode or found is None:
                raise EnvironmentFailure(
                    f"{commit[:9]}: not a tree that can run: {done.stderr.strip() or 'no package'}"
                )
            yield found
        finally:
            self._git("worktree", "remove", "--force", "--force", str(folder))
            place.close()
            self._git("worktree", "prune")

    def _git(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(self.source.package), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def commits_of(tree: str, side: str) -> Commits:
    """The commits of a checkout.

    Raises:
        UsageError: it is none, or not one of this side's project.
    """
    source = Source.found(str(Path(tree)), side)
    if source is None or not source.commit:
        raise UsageError(side, tree, "a git checkout, whose commits are bisected")
    return Commits(source)
