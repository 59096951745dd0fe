"""The commits of a checkout: which change the package, and each as a tree of its own; the checkout stays as it is."""

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.verification.environments.commits import Commits, commits_of
from harness.verification.environments.line import CommitLine
from tests.verification.environments.test_source import git, write

FILE = "src/transformers/masks.py"


@pytest.fixture
def commits(tmp_path: Path) -> Commits:
    """Six commits, tagged v0 to v5, of which v3 changes nothing of the package."""
    tree = tmp_path / "tree"
    for number in range(6):
        changed = {"README": "more"} if number == 3 else {"src/transformers/__init__.py": "", FILE: f"value = {number}"}
        write(tree, changed)
        if number == 0:
            git(tree, "init", "-q")
        git(tree, "add", ".")
        git(tree, "commit", "-q", "-m", f"number {number}")
        git(tree, "tag", f"v{number}")
    return commits_of(str(tree), "reference")


def test_a_line_has_the_commits_that_change_the_package(commits: Commits) -> None:
    line = CommitLine.of(commits, "v0", "v5")
    inner = line.between([line.good], line.bad)
    assert {line.title(one).split(" ", 1)[1] for one in inner} == {"number 1", "number 2", "number 4"}
    assert line.between([commits.named("v4", "good")], line.bad) == []
    assert commits.named("v3", "good") == commits.named("v2", "good")


def test_a_commit_is_a_tree_of_its_own_and_the_checkout_stays(commits: Commits) -> None:
    checkout = commits.source.tree
    (checkout / FILE).write_text("value = 'mine'")
    with commits.tree(commits.named("v1", "good")) as source:
        assert (source.package / "masks.py").read_text() == "value = 1"
        assert source.commit == f"g{commits.named('v1', 'good')[:9]}"
        folder = source.tree
    assert not folder.exists()
    assert (checkout / FILE).read_text() == "value = 'mine'"
    assert len(commits._git("worktree", "list").stdout.splitlines()) == 1


@pytest.mark.parametrize(("good", "bad", "field"), [("v5", "v0", "bad"), ("v2", "v3", "bad"), ("none", "v5", "good")])
def test_ends_that_are_no_line_are_bad_input(commits: Commits, good: str, bad: str, field: str) -> None:
    with pytest.raises(UsageError) as raised:
        CommitLine.of(commits, good, bad)
    assert raised.value.field == field


def test_a_folder_that_is_no_checkout_has_no_commits(tmp_path: Path) -> None:
    write(tmp_path, {"src/transformers/__init__.py": ""})
    with pytest.raises(UsageError, match="a git checkout"):
        commits_of(str(tmp_path), "reference")
