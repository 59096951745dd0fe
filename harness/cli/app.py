"""The application: its commands, and failures as exit codes."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from harness.cli import bench, doctor, mutants, nightly, report, run, show, soak
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


def main() -> None:
    """Run a command. Exit codes: 0 as it should be, 1 a divergence, 2 bad input, 3 a driver or the environment."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except UsageError as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        sys.exit(2)
    except EnvironmentFailure as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        sys.exit(3)
    except DriverFailure as error:
        errors.print(f"[bold red]error:[/] {_plain(error)}")
        errors.print(error.log, markup=False, style="dim")
        sys.exit(3)
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)


def _plain(error: Exception) -> str:
    from rich.markup import escape

    return escape(str(error))
