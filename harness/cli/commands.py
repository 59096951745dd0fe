"""The commands: each is imported when it is asked for, so that none waits for what the others need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from harness.cli import options

MODULES = (
    "run",
    "attach",
    "report",
    "show",
    "doctor",
    "bench",
    "mutants",
    "soak",
    "nightly",
    "matrix",
    "bisect",
    "watch",
    "canary",
)
"""Modules of `harness.cli` with a command of their own name, in the order of the help page."""
GROUPS = ("environments",)
"""Modules with several commands, which are their ``app``."""


class Commands(TyperGroup):
    """The commands of `MODULES` and `GROUPS`."""

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        names: Any = dict.fromkeys((*MODULES, *GROUPS))
        self.commands = names  # one that is mistyped is told the nearest

    def list_commands(self, ctx: Any) -> list[str]:
        return [*self.commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in GROUPS:
            group = typer.main.get_command(import_module(f"harness.cli.{cmd_name}").app)
            group.name = cmd_name
            return group
        if cmd_name not in MODULES:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(cmd_name, cls=options.Checked)(getattr(import_module(f"harness.cli.{cmd_name}"), cmd_name))
        return typer.main.get_command(alone)
