"""A case: a layout under a setting, and the divergence that is declared for it."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from harness.setting import Setting

IMAGE = "<|image|>"
DEFAULT_PICTURE_TEXT = "w40 w41 <|image|> w42 w43 w44"


@dataclass(frozen=True)
class Case:
    """A layout that is verified. Instead of it a text with images can go through both processors: ``picture`` is the
    (width, height) of a drawn one, ``images`` are files, each with `IMAGE` in the ``text``."""

    name: str
    title: str
    layout: str = ""
    model: str = "tiny"
    picture: tuple[int, int] | None = None
    images: tuple[str, ...] = ()
    text: str | None = None


@dataclass(frozen=True)
class Declared:
    """A divergence that is known: sliding layers follow ``policy`` instead of the reference's.

    It holds for settings whose fields are in ``backends`` and ``runners`` (as the engine chose them)
    and for vLLM ``releases`` (a PEP 440 specifier), unless one of the overlays ``mended_by`` is laid over
    them. ``link`` is the issue or pull request.
    """

    policy: str
    link: str
    reason: str
    backends: tuple[str, ...] = ()
    runners: tuple[str, ...] = ()
    releases: str = ""
    full_policy: str = "causal"
    mended_by: tuple[str, ...] = ()

    def holds(self, setting: Setting, runner: str, release: str) -> bool:
        """``runner`` is what the engine runs, "v1" or "v2"."""
        return (
            (not self.backends or setting.backend in self.backends)
            and (not self.runners or runner in self.runners)
            and not set(self.mended_by) & set(setting.overlays)
            and SpecifierSet(self.releases).contains(release.split("+")[0], prereleases=True)
        )
