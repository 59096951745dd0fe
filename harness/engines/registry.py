"""The serving engines that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.engines.adapter import Engine
from harness.engines.vllm.engine import VLLM
from harness.engines.vllm.overlays.overlay import Overlay

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (VLLM(),)}
"""By name; where an interpreter has several, it runs the first."""

OVERLAYS: dict[str, Overlay] = {
    name: overlay for engine in ENGINES.values() for name, overlay in engine.overlays.items()
}
"""Those of every engine by name, in the order in which a command lists them."""


def installed(distributions: Mapping[str, Any]) -> Engine | None:
    """The engine that an interpreter with these distributions (by name their versions) runs."""
    return next((one for one in ENGINES.values() if any(distributions.get(name) for name in one.distributions)), None)
