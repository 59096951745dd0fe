"""`harness doctor`: what this machine can run, and what mends the rest."""

from __future__ import annotations

import json
import sys

import typer
from rich.table import Table

from harness.cli import options
from harness.cli.console import Console
from harness.engines.vllm import attention_backends
from harness.errors import EnvironmentFailure


def doctor(
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    format: options.FormatOption = options.Format.text,
) -> None:
    """Say what can be run here, without starting an engine."""
    from harness.verification.session import host_of, inspect

    facts = {"serving": inspect(serving_python), "reference": inspect(reference_python)}
    problems: list[dict[str, str]] = []
    try:
        host = host_of(serving_python)
    except EnvironmentFailure as error:
        host = None
        problems.append({"problem": str(error), "mend": "make setup"})
    if not facts["reference"]["transformers"]:
        problems.append({"problem": "transformers is not installed", "mend": "make setup"})
    if host == "cpu" and not facts["serving"]["triton"]:
        problems.append({"problem": "triton is not installed: the back end triton cannot be interpreted", "mend": "pip install 'triton>=3.7,<3.8'"})
    for side in facts.values():
        if "+cpu" in (side["torch"] or "") and (side["torchaudio"] or side["torchcodec"]):
            problems.append(
                {
                    "problem": "torchaudio or torchcodec, built for CUDA, is beside a CPU torch and breaks the import of transformers",
                    "mend": "pip uninstall -y torchaudio torchcodec",
                }
            )
            break
    backends = list(attention_backends.on(host)) if host else []
    if format is options.Format.json:
        json.dump({"host": host, "backends": backends, "problems": problems, **facts}, sys.stdout, indent=1)
        print()
    else:
        console = Console()
        table = Table("", *facts, title="versions")
        for name in facts["serving"]:
            table.add_row(name, *(str(side[name]) for side in facts.values()))
        console.print(table)
        console.print(f"serving runs on: {host or 'nothing here'}; back ends to try: {', '.join(backends) or 'none'}")
        for problem in problems:
            console.print(f"[bold red]{problem['problem']}[/]\n  mend it with: {problem['mend']}", soft_wrap=True)
        if not problems:
            console.print("[green]nothing is missing[/]")
    raise typer.Exit(3 if problems else 0)
