"""A setting: one way to serve, and the reference that it is compared with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness import options
from harness.captures.selection import CaptureSelection
from harness.engines.vllm.options import EngineOptions
from harness.options import option
from harness.prompts.scenario import Scenario
from harness.references.options import ReferenceOptions

PARTS = {
    "engine": EngineOptions,
    "reference": ReferenceOptions,
    "scenario": Scenario,
    "selection": CaptureSelection,
}
PART_OF = {field.name: part for part, cls in PARTS.items() for field, _ in options.declared(cls)}
"""For each option that a part declares the part."""


@dataclass(frozen=True)
class Setting:
    """The parts of a setting, and the overlays that are laid over a running engine; `of` and `with_` take every option by
    its name."""

    engine: EngineOptions = EngineOptions()
    reference: ReferenceOptions = ReferenceOptions()
    scenario: Scenario = Scenario()
    selection: CaptureSelection = CaptureSelection()
    overlays: tuple[str, ...] = option(
        (), "--overlay", "a named change laid over the serving side; repeatable", new_engine=False,
        label=lambda names: " ".join(f"+{name}" for name in names),
    )  # fmt: skip

    @classmethod
    def of(cls, **values: Any) -> Setting:
        """The setting with these options, the others at their defaults.

        Raises:
            UsageError: a value is not allowed.
            TypeError: there is no such option.
        """
        return cls().with_(**values)

    def with_(self, **values: Any) -> Setting:
        """A changed copy; raises as `of` does."""
        own = {"overlays": values.pop("overlays")} if "overlays" in values else {}
        changed: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in PART_OF:
                raise TypeError(f"a setting has no option {name!r}")
            changed.setdefault(PART_OF[name], {})[name] = value
        return replace(self, **own, **{part: replace(getattr(self, part), **of) for part, of in changed.items()})

    @property
    def _parts(self) -> list[Any]:
        return [*(getattr(self, part) for part in PARTS), self]

    @cached_property
    def label(self) -> str:
        """A short name for people: only what is not the default."""
        return " ".join(word for part in self._parts for word in options.label(part))

    @property
    def slug(self) -> str:
        """The label as one word, for the names of tests."""
        return self.label.replace(" ", "-")

    @property
    def words(self) -> list[str]:
        """The words of a command line that give this setting."""
        return self.words_of(None)

    def words_of(self, names: Collection[str] | None) -> list[str]:
        """The words that give the options of these ``names``, or all."""
        return [word for part in self._parts for word in options.words(part, names)]

    @property
    def engine_key(self) -> tuple:
        """Equal keys can share an engine."""
        return tuple(options.engine_key(part) for part in self._parts)

    def to_dict(self) -> dict[str, Any]:
        """Every option by its name."""
        return {field.name: getattr(part, field.name) for part in self._parts for field, _ in options.declared(part)}
