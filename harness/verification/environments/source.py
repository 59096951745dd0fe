"""A source tree of either side: a checkout, or a package that was unpacked. Nothing of it is compiled.

Its Python files are laid over an environment of a release, which lends the compiled parts: links to the tree's files, first on
the path of an interpreter of their own, so that what is changed in the tree is what runs next.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

PACKAGES = {"serving": ("vllm",), "reference": ("src/transformers", "transformers", "gemma")}
"""Where a checkout has its package, or an unpacked one, by side."""
COMPILED = (".so", ".pyd", ".dylib")
GENERATED = ("vllm_flash_attn",)
"""What vLLM's build puts beside the files of the repository."""
BUT_CACHES = ":(exclude,glob)**/__pycache__/**"
"""What Python writes beside the files that it runs is no change of them."""
_VERSION = re.compile(r"^__version__\s*=(?:[^\"'\n]*=)?\s*[\"']([^\"'\n]+)[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A tree of ``side``; ``package`` is the directory that is imported, ``tree`` what was given. One that is ``edited`` is as it
    will be when a file of it is changed."""

    side: str
    tree: Path
    package: Path
    edited: bool = False

    @classmethod
    def found(cls, text: str, side: str) -> Source | None:
        """The tree that ``text`` names, if it is a directory with this side's package in it."""
        tree = Path(text).absolute()
        packages = (tree / relative for relative in PACKAGES[side])
        package = next((package for package in packages if os.path.isfile(package / "__init__.py")), None)  # noqa: PTH113 - a name may be too long for Path.is_file
        return cls(side, tree, package) if package else None

    @property
    def number(self) -> Version | None:
        """The release that the tree says it is, or the last one tagged before it; None if it says neither."""
        for name in ("_version.py", "__init__.py"):
            file = self.package / name
            said = _VERSION.search(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else None
            if said:
                return _public(said[1])
        return _public(self._git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*").removeprefix("v"))

    @property
    def commit(self) -> str:
        """The commit, with `.dirty` where files of the package are changed; empty where the tree is nobody's checkout."""
        if not self._git("ls-files", "__init__.py"):
            return ""
        dirty = ".dirty" if self.edited or self._git("status", "--porcelain", "--", ".", BUT_CACHES) else ""
        return f"g{self._git('rev-parse', '--short=9', 'HEAD')}{dirty}"

    def version(self, base: str) -> str:
        """What the tree is called: its release, or ``base`` where it does not say one, and its commit."""
        commit = self.commit
        return f"{self.number or base}+{commit or 'source'}"

    def _git(self, *words: str) -> str:
        try:
            command = ["git", "-C", str(self.package), *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""


def links(package: Path, base: Path) -> dict[str, Path]:
    """What a package has that runs the Python files of ``package`` with the compiled ones of ``base``: files and folders to link
    to, by their place in it."""
    found: dict[str, Path] = {}
    for entry in package.iterdir():
        beneath = base / entry.name
        if entry.is_dir() and any(_compiled(beneath)):
            found |= {f"{entry.name}/{place}": target for place, target in links(entry, beneath).items()}
        elif entry.suffix not in COMPILED:
            found[entry.name] = entry
    found |= {entry.name: entry for entry in base.iterdir() if entry.suffix in COMPILED}
    return {entry.name: entry for entry in base.iterdir() if entry.name in GENERATED} | found


def _compiled(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in COMPILED) if folder.is_dir() else iter(())


def _public(text: str) -> Version | None:
    try:
        return Version(Version(text).public)
    except InvalidVersion:
        return None
