"""`harness show`: the intended masks of a layout, in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from harness.compare.failure import LETTERS
from harness.console import Console
from harness.errors import UsageError
from harness.families.registry import PRESETS
from harness.masks.policies import POLICIES
from harness.prompts.layout import Layout

WIDEST = 1024
"""Tokens of the longest layout that is printed."""


def show(
    layout: Annotated[str | None, typer.Option(help='for instance "t3 i5 t4 i12 t3"')] = None,
    window: Annotated[int, typer.Option(help="sliding window in tokens")] = 8,
    policy: Annotated[list[str] | None, typer.Option(help="a formula; repeatable; by default clamp")] = None,
    models: Annotated[bool, typer.Option("--models", help="list the presets instead")] = False,
) -> None:
    """Print what the formulas say of a layout: intended masks, which nobody observed."""
    console = Console()
    if models and layout is not None:
        raise UsageError("layout and models", layout, "one of the two")
    if models:
        console.print(_models())
        return
    if layout is None:
        raise UsageError("layout", "none", "give a layout, or --models")
    parsed = Layout.parse(layout)
    if len(parsed) > WIDEST:
        raise UsageError(
            "layout", layout, f"at most {WIDEST} tokens, since each is a row and a column; this has {len(parsed)}"
        )
    for name in policy or ():
        if name not in POLICIES:
            raise UsageError("policy", name, f"one of {', '.join(POLICIES)}")
    for name in policy or ["clamp"]:
        for sliding in (True, False):
            kind = "sliding" if sliding else "full"
            console.print(Text.assemble((name, "bold"), f" on {kind} layers: {POLICIES[name].sentence}"))
            console.print(picture(parsed, window, name, sliding=sliding))


def picture(layout: Layout, window: int, name: str, *, sliding: bool) -> str:
    """Rows are queries, columns keys, ``#`` what the policy lets through."""
    spans = layout.vision
    mask = POLICIES[name].mask(len(layout), spans, window, sliding=sliding)
    letters = "".join(LETTERS[token.kind] for token in layout.tokens)
    rows = ["".join("#" if allowed else "." for allowed in row) for row in mask]
    return "\n".join([f"     {letters}", *(f"{q:3} {letters[q]}{row}" for q, row in enumerate(rows)), ""])


def _models() -> Table:
    table = Table("preset", "window", "layers", "heads", "head size", "flags", box=box.SIMPLE_HEAD)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for spec in PRESETS.values():
        flags = {
            "causal images": spec.bidirectional is None,
            f"moe {spec.moe}": spec.moe,
            "k = v": spec.k_eq_v,
            f"{spec.kv_shared_layers} shared KV": spec.kv_shared_layers,
            "per-layer inputs": spec.per_layer_input,
            "audio": spec.audio,
        }
        heads = f"{spec.heads}/{spec.kv_heads}"
        heads += f" {spec.heads}/{spec.global_kv_heads}" if spec.global_kv_heads != spec.kv_heads else ""
        sizes = f"{spec.head_dim} {spec.global_head_dim}"
        table.add_row(
            spec.name, str(spec.window), spec.layers, heads, sizes, ", ".join(n for n, on in flags.items() if on)
        )
    table.caption = "layers: s sliding, f full; heads: query/KV, of sliding and of full layers; head size likewise"
    return table
