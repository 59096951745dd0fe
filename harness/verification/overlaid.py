"""Overlays over the entries of a catalogue: some settings and models do not have what is changed."""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare.setting import Setting
from harness.engines.adapter import Asked
from harness.errors import UsageError
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec
from harness.verification.interpreters import engine_of, platform_of


def having(
    entries: Sequence[tuple[Case, Setting]], spec: ModelSpec | None, python: str
) -> tuple[list[tuple[Case, Setting]], dict[str, str]]:
    """The ``entries`` that have what their overlays change, and why the others do not, by their settings. All are on the model
    ``spec`` if there is one, and served by the interpreter ``python``.

    Raises:
        UsageError: none has it; it says why the first does not.
    """
    engine, platform = engine_of(python), platform_of(python)
    kept: list[tuple[Case, Setting]] = []
    first: UsageError | None = None
    lacking: dict[str, list[str]] = {}
    for case, setting in entries:
        model = spec or preset(case.model)
        try:
            engine.check_changed(Asked(setting.engine, setting.scenario, setting.overlays, model, ()), platform)
            kept.append((case, setting))
        except UsageError as error:
            first = first or error
            lacking.setdefault(str(error), []).append(setting.with_(overlays=()).label)
    if first and not kept:
        raise first
    return kept, {_said(labels, len(entries)): why for why, labels in lacking.items()}


def _said(labels: Sequence[str], results: int) -> str:
    return f"{', '.join(dict.fromkeys(labels))} ({len(labels)} of {results} results)"
