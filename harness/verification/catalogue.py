"""Catalogues: cases with their settings and known divergences, which are given to the commands and imported by none."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.compare import known_file
from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.errors import UsageError
from harness.families.registry import prompt_for
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec

OWN = "cases"
"""The catalogue that comes with the harness."""
HERE = "catalogue"
"""What stands for the catalogue among files of known divergences."""
NEEDED = ("CASES", "DECLARED", "entries")


@dataclass(frozen=True)
class Catalogue:
    """``cases`` by which a user can ask for one, the divergences that are ``declared``, and ``entries(platform, python)``:
    every case under every setting of a platform (cpu or cuda), by setting, so that engines are started once each.
    ``entries_of(spec, platform, python)``, if there is one, are those of another model."""

    cases: Sequence[Case]
    declared: Sequence[Declared]
    entries: Callable[[str, str], list[tuple[Case, Setting]]]
    entries_of: Callable[[ModelSpec, str, str], list[tuple[Case, Setting]]] | None = None

    def of_model(
        self, spec: ModelSpec, platform: str, python: str
    ) -> tuple[list[tuple[Case, Setting]], dict[str, str]]:
        """The entries for a model that takes them, and why it does not take the others, by their names. A catalogue that has no
        ``entries_of`` gives its own layouts."""
        if self.entries_of:
            every = self.entries_of(spec, platform, python)
        else:
            every = [
                (replace(case, model=spec.name), setting)
                for case, setting in self.entries(platform, python)
                if case.layout
            ]
            every = list(dict.fromkeys(every))
        refused: dict[str, str] = {}
        for case in dict.fromkeys(case for case, _ in every):
            try:
                prompt_for(Layout.parse(case.layout), spec, field=case.name)
            except UsageError as error:
                refused[case.name] = str(error)
        return [(case, setting) for case, setting in every if case.name not in refused], refused

    def case(self, name: str, field: str = "case") -> Case:
        """The case of this name.

        Raises:
            UsageError: there is none.
        """
        found = next((case for case in self.cases if case.name == name), None)
        if found is None:
            raise UsageError(field, name, f"one of {', '.join(case.name for case in self.cases)}")
        return found


def load(where: str = OWN) -> Catalogue:
    """The catalogue of a package, or of a folder: its module `catalogue` has `CASES`, `DECLARED` and `entries`.

    Raises:
        UsageError: there is no such module, it cannot be imported, or it lacks one of these.
    """
    allowed = f"a folder or package with a catalogue.py that has {', '.join(NEEDED)}"
    folder = Path(where)
    if os.path.isdir(folder) and where != OWN:
        sys.path.insert(0, str(folder.absolute().parent))
        name = folder.absolute().name
    else:
        name = where
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError("cases", where, allowed)
    try:
        module = importlib.import_module(f"{name}.catalogue")
    except UsageError:
        raise
    except ImportError as error:
        raise UsageError("cases", where, f"{allowed} ({error})") from None
    except Exception as error:  # noqa: BLE001 - its own code may raise whatever it likes
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError("cases", where, f"{allowed}; it cannot be imported ({why})") from None
    if missing := [each for each in NEEDED if not hasattr(module, each)]:
        raise UsageError("cases", where, f"{allowed}; {', '.join(missing)} is missing")
    return Catalogue(
        module.CASES,
        [_placed(one, where) for one in module.DECLARED],
        module.entries,
        getattr(module, "entries_of", None),
    )


def declared(known: Iterable[str], cases: str = OWN) -> list[Declared]:
    """The divergences that the files of ``known`` declare, and those of the catalogue ``cases`` where it has `HERE`.

    Raises:
        UsageError: as `load` and `harness.compare.known_file.read`.
    """
    found = [one for name in known for one in (load(cases).declared if name == HERE else known_file.read(name))]
    return list(dict.fromkeys(found))


def _placed(one: Declared, where: str) -> Declared:
    """A declaration that knows its catalogue, where that is not the harness's own."""
    if where == OWN:
        return one
    return replace(one, catalogue=str(Path(where).absolute()) if os.path.isdir(where) else where)


def left_out(refused: Mapping[str, str]) -> list[str]:
    """A line for each case that is left out, which says why and names the case once."""
    return [f"left out: {why if why.startswith(f'{name}:') else f'{name}: {why}'}" for name, why in refused.items()]
