"""Which policies releases of transformers are known to have followed, other than the one that is intended.

Read from `models/gemma4/modeling_gemma4.py` and `masking_utils.py` of each release, and observed (docs/releases.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

INTENDED = {"sliding": "clamp", "full": "causal"}
"""What both sides mean to do today, by the type of layer, where the images of a model are bidirectional."""


def intended(kind: str, bidirectional: str | None) -> str:
    """The policy that layers of a ``kind`` ("sliding", "full") are meant to follow."""
    return INTENDED[kind] if bidirectional == "vision" else "causal"


@dataclass(frozen=True)
class Followed:
    """A ``policy`` that layers of a ``kind`` followed in ``releases`` (PEP 440) of transformers."""

    kind: str
    policy: str
    releases: str
    sentence: str


TRANSFORMERS = (
    Followed(
        "sliding",
        "unclamped",
        ">=5.5,<5.13",
        "known of transformers from 5.5.0, the first with Gemma 4, until 5.13.0 (PR #46850)",
    ),
    Followed("full", "everywhere", ">=5.9,<5.13", "known of transformers from 5.9.0 until 5.13.0 (PR #46850)"),
)


def known(release: str, kind: str, policy: str) -> str:
    """What is known of layers of this ``kind`` that follow ``policy`` in a ``release`` of transformers, if anything is."""
    return next(
        (
            one.sentence
            for one in TRANSFORMERS
            if (one.kind, one.policy) == (kind, policy)
            and SpecifierSet(one.releases).contains(release, prereleases=True)
        ),
        "",
    )
