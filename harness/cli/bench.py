"""`harness bench`: layouts a minute."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.checkpoint.presets import preset
from harness.cli import options
from harness.setting import Setting


def bench(
    model: Annotated[str, typer.Option(help="a preset")] = "tiny",
    backend: options.Backend = "triton",
    runner: options.Runner = "v1",
    dtype: options.Dtype = "float32",
    tokens: Annotated[list[int] | None, typer.Option(help="tokens a layout; repeatable")] = None,
    layers: Annotated[list[str] | None, typer.Option(help="layer patterns, for instance sf; repeatable")] = None,
    batch: Annotated[int, typer.Option(help="layouts in one engine step")] = 1,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference_python: options.ReferencePython = options.THIS_PYTHON,
    format: options.FormatOption = options.Format.text,
) -> None:
    """Measure verified layouts a minute, and their ratio to a plain forward of the same prompts."""
    from harness.bench import measure
    from harness.session import Session, check_usage, host_of

    setting = Setting(backend=backend, runner=runner, dtype=dtype)
    spec = preset(model)
    check_usage(setting, host_of(serving_python))
    rows = []
    console = Console(stderr=True)
    with Session(reference_python=reference_python, serving_python=serving_python) as session:
        for pattern in layers or [spec.layers]:
            for count in tokens or [32, 64, 128, 256, 500]:
                with console.status(f"{count} tokens, layers {pattern}"):
                    rows.append(measure(session, spec.with_(layers=pattern), setting, count, batch))
    if format is options.Format.json:
        json.dump(rows, sys.stdout, indent=1)
        print()
        return
    table = Table(*max(rows, key=len), title=f"{model}, {setting.label}")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
