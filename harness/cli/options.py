"""Options that several commands share, and how a setting is made from them."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from harness.errors import UsageError
from harness.families.gemma4.presets import preset
from harness.prompts.model_spec import ModelSpec


class Format(StrEnum):
    text = "text"
    json = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs")]
ServingPython = Annotated[str, typer.Option(help="interpreter that has vllm")]
ReferencePython = Annotated[str, typer.Option(help="interpreter that has transformers")]

THIS_PYTHON = sys.executable


def preset_with(model: str, window: int | None) -> ModelSpec:
    """A preset, with another window if one is given.

    Raises:
        UsageError: there is no such preset, or the window is not allowed.
    """
    spec = preset(model)
    return spec if window is None else spec.with_(window=window)


def at_least(field: str, value: float, least: int) -> None:
    """Raise UsageError if ``value`` is below ``least``."""
    if value < least:
        raise UsageError(field, value, f"at least {least}")
