"""The interpreter of a side, found again on whichever machine a cell runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from harness.errors import EnvironmentFailure
from harness.verification import environments
from harness.verification.interpreters import inspect
from harness.verification.machines.cell import Machines
from harness.verification.made_with import hashed

NODES_OWN = ""
"""The name of the interpreter that the harness of a machine runs in."""


@dataclass(frozen=True)
class Side:
    """What a command was given for a side, by its ``name`` on all machines, and what is ``wanted`` of it there: what `inspect` says
    of an interpreter, or a hash of a source tree. A release is what its name says."""

    name: str
    field: str
    wanted: dict[str, Any]

    @classmethod
    def of(cls, text: str, field: str, machines: Machines) -> Side:
        """Raises as `harness.verification.made_with.content`."""
        return cls(machines.named(text), field, _facts(text, field))

    def python(self) -> str:
        """The path of its interpreter on this machine; the environment of a release is made now if it is not there.

        Raises:
            UsageError: there is no such release, tree or interpreter.
            EnvironmentFailure: it cannot be made here, or is another one than the command's.
        """
        text = sys.executable if self.name == NODES_OWN else self.name
        found = _facts(text, self.field)
        if other := [key for key in self.wanted if found.get(key) != self.wanted[key]]:
            has, asked = (", ".join(f"{key} {facts.get(key)}" for key in other) for facts in (found, self.wanted))
            raise EnvironmentFailure(f"{self.field}: {text} of this node has {has}, that of the command {asked}")
        return environments.interpreter(text, self.field)


def _facts(text: str, field: str) -> dict[str, Any]:
    named = environments.side(text, field)
    if isinstance(named, environments.Source):
        return {"Python files": hashed(named.package)}
    return {key: value for key, value in inspect(named).items() if key != "gpus"} if isinstance(named, str) else {}
