"""The application: its commands, and failures as exit codes."""

from __future__ import annotations

from typing import cast

import typer
from rich.text import Text

from harness.cli.commands import Commands
from harness.console import Console
from harness.errors import DriverFailure, EnvironmentFailure, UsageError
from harness.text import unbroken

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def harness() -> None:
    """Verify that vLLM's Gemma 4 (or 3) computes what transformers' computes: attention masks and logits."""


BadCommandLine = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
"""click's UsageError, of which it has all that is used here; typer has a click of its own in some releases."""


def run() -> int:
    """Run the command that the command line names; returns its exit code.

    Raises:
        Exception: something that nobody foresaw.
    """
    errors = Console(stderr=True)
    try:
        return app(standalone_mode=False) or 0
    except BadCommandLine as error:
        if not error.format_message():
            return error.exit_code
        errors.print(said(error.format_message()))
        return 2
    except UsageError as error:
        errors.print(said(error))
        return 2
    except EnvironmentFailure as error:
        errors.print(said(error))
        return 3
    except DriverFailure as error:
        errors.print(said(error))
        errors.print(error.log, style="dim")
        return 3


def said(error: object) -> Text:
    """An error as its one line."""
    return Text.assemble(("error:", "bold red"), f" {unbroken(error)}")
