"""What the harness asks of a serving engine before it runs.

The engine itself runs in a driver of its own, which answers the messages of `harness.drivers.messages`: `LoadEngine`,
`LayOverlays`, `RunEngine`, `ServePlainly`, `AskMemory`, and for campaigns of weights `ChangeableTensors` and `ChangeTensor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from harness.prompts.model_spec import ModelSpec
from harness.prompts.scenario import Scenario

Options = TypeVar("Options")
"""What starts an engine: a dataclass of the engine's own."""


@dataclass(frozen=True)
class Asked(Generic[Options]):
    """What one engine is asked to serve. ``tokens`` are the lengths of the prompts of the batch that are known: first the one
    that is compared; ``before`` those of prompts that are served before it. ``items`` is the most of each modality that one of
    them has."""

    options: Options
    scenario: Scenario
    overlays: tuple[str, ...]
    spec: ModelSpec
    tokens: tuple[int, ...]
    before: tuple[int, ...] = ()
    items: Mapping[str, int] = field(default_factory=dict)


class Engine(Protocol):
    """An engine by its ``name``. ``distributions`` are those of which an interpreter must have one; ``driver`` is the module
    that serves; ``overlays`` are what can be laid over its workers, by name. ``found`` is what `inspect` says of the
    interpreter: versions by distribution and ``gpus``."""

    name: str
    distributions: tuple[str, ...]
    driver: str

    @property
    def overlays(self) -> Mapping[str, Any]: ...

    def release(self, found: Mapping[str, Any]) -> str:
        """The release that an interpreter has."""
        ...

    def platform(self, found: Mapping[str, Any], python: str) -> str:
        """Where it runs: "cpu" or "cuda".

        Raises:
            EnvironmentFailure: it cannot run on this machine.
        """
        ...

    def backends(self, platform: str) -> tuple[str, ...]:
        """The attention back ends that ``platform`` can be asked for."""
        ...

    def check(self, asked: Asked[Any], python: str, platform: str, found: Mapping[str, Any]) -> None:
        """Find what it would refuse when everything is loaded; raises UsageError."""
        ...

    def check_overlays(self, names: Sequence[str], found: Mapping[str, Any]) -> None:
        """Raise UsageError for a name that is no overlay's, comes twice, excludes another one, or does not fit the release."""
        ...

    def check_changed(self, asked: Asked[Any], platform: str) -> None:
        """Raise UsageError for an overlay that changes what the setting or the model does not have."""
        ...

    def unavailable(self) -> Mapping[str, str]:
        """Import it here, in the interpreter that serves, and say by its name why a back end cannot run."""
        ...
