"""The mutation matrix: what became of each mutant, and the versioned document that says it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.compare.result import AGAIN, Failure

FILE = "mutation-matrix.json"
SCHEMA = 1
"""Counts the changes of the document that break a reader."""


@dataclass(frozen=True)
class MutantOutcome:
    """What became of a mutant: ``caught_by`` is "masks", "logits", "probe" or None; ``examples`` until the first catch.

    ``logits_alone`` says that in some layout of the search the logits were out of bounds, so that they alone would have
    caught it too. ``refused`` is what the release has against the overlay: then nothing was searched. ``error`` is of a driver
    that failed: then the search ended there. ``node`` is where it ran, by name and address, if that was a cluster.
    """

    mutant: str
    sentence: str
    setting: str
    caught_by: str | None
    examples: int
    layouts: list[str]
    diagnosis: str
    equivalent: str
    seconds: float
    logits_alone: bool = False
    refused: str = ""
    error: Failure | None = None
    node: str = ""

    @property
    def right(self) -> bool:
        """Caught, or argued to be equivalent and not caught."""
        return not self.error and (bool(self.refused) or (self.caught_by is None) == bool(self.equivalent))

    def to_dict(self) -> dict:
        return {**asdict(self), "right": self.right}


def document(outcomes: Iterable[dict], command: str, planned: int, lost: Sequence[dict] = ()) -> dict[str, Any]:
    """What `FILE` holds: `MutantOutcome.to_dict` of each mutant that was searched for, of the ``planned`` ones; on a cluster also
    which searches were ``lost`` with a node and run again."""
    again = {AGAIN: list(lost)} if lost else {}
    return {"schema": SCHEMA, "command": command, "planned": planned, **again, "mutants": list(outcomes)}


def read(text: str) -> list[dict]:
    """The outcomes in a document.

    Raises:
        ValueError: it has another schema.
    """
    return _document(text)["mutants"]


def lost_with_nodes(text: str) -> dict[str, tuple[str, ...]]:
    """The nodes that were lost under the search for a mutant, by its name. Raises as `read`."""
    found: dict[str, tuple[str, ...]] = {}
    for one in _document(text).get(AGAIN, []):
        found[one["cell"]] = (*found.get(one["cell"], ()), one["node"])
    return found


def _document(text: str) -> dict[str, Any]:
    found = json.loads(text)
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{FILE} has schema {schema!r}, this release reads {SCHEMA}")
    return found
