"""The application: its commands, and failures as exit codes."""

from __future__ import annotations

import typer
from rich.markup import escape

from harness.cli import bench, doctor, mutants, nightly, report, run, show, soak
from harness.cli.console import Console
from harness.errors import DriverFailure, EnvironmentFailure, UsageError

app = typer.Typer(
    help="Verify that vLLM's Gemma 4 computes what transformers' Gemma 4 computes: attention masks and logits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("report")(report.report)
app.command("show")(show.show)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("mutants")(mutants.mutants)
app.command("soak")(soak.soak)
app.command("nightly")(nightly.nightly)


BadCommandLine = typer.BadParameter.__mro__[1]
"""click's UsageError; typer has a click of its own in some releases."""


def run() -> int:
    """Run the command that the command line names; returns its exit code.

    Raises:
        Exception: something that nobody foresaw.
    """
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return app(standalone_mode=False) or 0
    except BadCommandLine as error:
        if not error.format_message():
            return error.exit_code
        errors.print(f"[bold red]error:[/] {_plain(error.format_message())}")
        return 2
    except UsageError as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        return 2
    except EnvironmentFailure as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        return 3
    except DriverFailure as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        errors.print(error.log, markup=False, style="dim")
        return 3


def _plain(error: object) -> str:
    return escape(str(error))
