"""Results for people at a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from harness.compare.logits import FACTOR
from harness.compare.result import CaseResult, FurtherReference, LogitsResult
from harness.compare.verdict import Verdict
from harness.report.tables import counts, gravest_first, layer_table, overview, setting_label
from harness.report.text import SIDES, number
from harness.text import plain, uncoloured

LOG_LINES = 20


def tight_table(*headings: str, title: str | None = None, caption: Text | None = None) -> Table:
    """A table with one blank between columns, so that 80 of them hold the most."""
    return Table(
        *headings,
        title=title,
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def summary_table(results: list[CaseResult], part: str = "") -> Table:
    """One row for each result, the gravest first, and below the counts and of what ``part`` they are."""
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts(results).items() if count)
    caption = Text(found or "no cases were run")
    caption.append(f"\nthis is a part: {part}" if part else "", style=Verdict.ERROR.style)
    table = tight_table(caption=caption)
    table.add_column("verdict", no_wrap=True)
    for heading in ("case", "setting", "layers"):
        table.add_column(heading, overflow="fold")
    for heading in ("missing", "extra", "logits"):
        table.add_column(heading, justify="right", no_wrap=True)
    ordered = gravest_first(results)
    for result, row in zip(ordered, overview(ordered).to_dict("records"), strict=True):
        pairs = [str(row["missing"]), str(row["extra"])] if result.layers else ["-", "-"]
        off = number(result.logits.max_abs_diff) if result.logits else "-"
        layers = f"{row['differing_types']} {row['differing_layers']}" if row["differing_layers"] else "-"
        table.add_row(_verdict(result), *map(Text, (row["case"], row["setting"], layers, *pairs, off)))
    return table


def case_panel(result: CaseResult) -> Panel:
    """Verdict, diagnosis, layers and logits."""
    parts: list[RenderableType] = [Text.assemble("layout  ", (plain(result.layout), "bold"))]
    parts += [Text(line) for line in _sentences(result)]
    if result.layers:
        parts.append(_layers(result))
    if result.logits:
        parts.append(_logits(result.logits))
    if result.setting.get("offload") and result.memory:
        parts.append(_offloaded(result))
    if result.error:
        log = plain(uncoloured(result.error.log)).rstrip().splitlines()[-LOG_LINES:]
        parts.append(Text(f"failed in stage {plain(result.error.stage)} ({result.error.kind})", style="bold"))
        parts.append(Text("\n".join(log), style="dim"))
    title = Text.assemble(_verdict(result), f" {plain(result.case)} [{setting_label(result)}]")
    return Panel(Group(*parts), title=title, title_align="left", border_style=result.verdict.style)


def reproduce_line(result: CaseResult) -> Text:
    """The command that reproduces a case; it stands outside of every frame, on one line that can be copied."""
    return Text.assemble("reproduce  ", (plain(result.reproduce), "bold"))


def _verdict(result: CaseResult) -> Text:
    return Text(result.verdict.value, style=result.verdict.style)


def _sentences(result: CaseResult) -> Iterable[str]:
    yield plain(result.diagnosis)
    if result.declared:
        policy = plain(result.declared.get("policy", ""))
        yield f"declared divergence{f' `{policy}`' if policy else ''}: {plain(result.declared.get('link', ''))}"
    first = next((layer.first_difference for layer in result.layers if layer.first_difference), None)
    if first:
        yield f"first difference, layer {result.first_diverging_layer}: {plain(first['text'])}"


def _layers(result: CaseResult) -> Table:
    """With further references the attention output has no column: 80 characters do not hold both."""
    table = tight_table()
    further = [one for one in result.further if not one.error]
    columns: tuple[tuple[str, JustifyMethod], ...] = (
        ("layer", "right"), ("type", "left"), ("reference", "left"), ("serving", "left"),
        *((plain(one.name).replace(" ", "\n"), "left") for one in further),
        ("missing", "right"), ("extra", "right"), *(() if further else (("attention", "right"),)), ("hidden", "right"),
    )  # fmt: skip
    for heading, justify in columns:
        table.add_column(heading, justify=justify, overflow="fold")
    for layer, row in zip(result.layers, layer_table([result]).to_dict("records"), strict=True):
        distances = [*([] if further else [layer.attention_max_abs_diff]), layer.hidden_max_abs_diff]
        policies = [layer.reference_policy, layer.serving_policy, *(_policy_of(one, layer.index) for one in further)]
        named_policies = [policy or "none known" for policy in policies]
        numbers = [str(layer.missing), str(layer.extra), *("-" if d is None else number(d) for d in distances)]
        cells = [str(layer.index), row["type"], *named_policies, *numbers]
        table.add_row(*map(Text, cells), style="bold red" if layer.differs else None)
    return table


def _policy_of(one: FurtherReference, layer: int) -> str | None:
    return next((found.policy for found in one.layers if found.index == layer), None)


def _offloaded(result: CaseResult) -> Text:
    took = ", ".join(f"{bytes_ / 1e9:.1f} GB ({plain(whose)})" for whose, bytes_ in result.memory.items())
    seconds = sum(value for stage, value in result.seconds.items() if stage.startswith("reference"))
    return Text(f"the reference layer by layer: {seconds:.0f} s, at most {took}")


def _logits(logits: LogitsResult) -> Text:
    words = "within" if logits.within else "above"
    lost = "".join(
        f"; no number on {SIDES[side]} at {len(positions)} positions, the first is {positions[0]}"
        for side, positions in logits.not_finite.items()
    )
    return Text(
        f"logits  max abs difference {number(logits.max_abs_diff)} at position {logits.position_of_max}, "
        f"{words} the bound: at worst {number(logits.ratio)} times the noise floor, {FACTOR:g} allowed; "
        f"KL max {number(logits.kl_max)}; top-1 agreement {logits.top1_agreement:.1%}{lost}",
        style="" if logits.within else "bold red",
    )
