"""Results as pandas tables: one row for each case under a setting, and one for each of its layers.

pandas is imported where a table is made: it would double the time in which a command line answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.compare.result import NODE, CaseResult, LayerResult
from harness.compare.verdict import Verdict
from harness.report.text import layer_list
from harness.text import plain

if TYPE_CHECKING:
    import pandas as pd

FORMULA = "=+-@＝＋－＠"
"""What a cell of a spreadsheet begins with if it is one; blanks before it are passed over."""
SETTING_COLUMNS = (
    "backend",
    "runner",
    "dtype",
    "kv_dtype",
    "mode",
    "chunk",
    "prefix_caching",
    "mates",
    "tensor_parallel",
    "pipeline_parallel",
    "overlays",
    "reference",
)
_RESULT_COLUMNS = (
    "verdict", "case", "title", "layout", "model", "setting", "tokens", "layers", "differing_layers",
    "differing_types", "first_diverging_layer", "missing", "extra", "serving_policies", "logits_max_abs_diff",
    "logits_ratio", "logits_within", "kl_max", "top1_agreement", "declared_policy", "declared_link", "seconds",
    "diagnosis", "reproduce",
)  # fmt: skip
_LAYER_COLUMNS = (
    "case", "setting", "verdict", "layer", "type", "window", "kv_head_groups", "reference_pairs", "serving_pairs",
    "missing", "extra", "reference_policy", "serving_policy", "attention_max_abs_diff", "hidden_max_abs_diff",
    "declared_ranges", "first_difference",
)  # fmt: skip


def overview(results: Iterable[CaseResult]) -> pd.DataFrame:
    """One row for each result, in the order given.

    ``missing`` and ``extra`` are pairs summed over layers, ``seconds`` over stages. Columns of
    logits are empty where there are none. The last columns are the fields of the serving setting
    as text; ``runner`` is the one that the engine chose. Where results came from a cluster ``node`` says from where.
    """
    import pandas as pd

    rows = [_row(result) for result in results]
    placed = [NODE] if any(NODE in row for row in rows) else []
    return pd.DataFrame(rows, columns=[*_RESULT_COLUMNS, *SETTING_COLUMNS, *placed])


def of_part(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """``table`` with a column that says in each row of what part it is, in one of its own where there are no others."""
    import pandas as pd

    if part and table.empty:
        return pd.DataFrame([{"part": part}], columns=[*table.columns, "part"])
    return table.assign(part=part)


def spreadsheet(table: pd.DataFrame) -> str:
    """``table`` as CSV. A text that a spreadsheet would take for a formula is preceded by an apostrophe."""
    return table.map(_no_formula).to_csv(index=False, lineterminator="\n")


def layer_table(results: Iterable[CaseResult]) -> pd.DataFrame:
    """One row for each layer of each result, in the order given."""
    import pandas as pd

    rows = [_layer_row(result, layer) for result in results for layer in result.layers]
    return pd.DataFrame(rows, columns=list(_LAYER_COLUMNS))


def counts(results: Iterable[CaseResult]) -> dict[Verdict, int]:
    """How many results have each verdict, the gravest first; verdicts that did not occur have 0, those on planted faults are
    left out where there are none."""
    found = [result.verdict for result in results]
    planted = any(verdict.planted for verdict in found)
    return {verdict: found.count(verdict) for verdict in Verdict if planted or not verdict.planted}


def gravest_first(results: Iterable[CaseResult]) -> list[CaseResult]:
    """By verdict, and in the order given within a verdict."""
    return sorted(results, key=lambda result: result.verdict.severity)


def setting_label(result: CaseResult) -> str:
    """The setting's short name for people, with the back end that the engine chose where it was asked to."""
    setting = result.setting
    label = setting.get("label") or " ".join(str(setting.get(name, "")) for name in SETTING_COLUMNS[:3]).strip()
    chosen = setting.get("engine backend")
    return plain(label.replace("auto ", f"auto ({chosen}) ", 1) if chosen and label.startswith("auto ") else label)


def short_type(layer: LayerResult) -> str:
    """``sliding_attention`` as "sliding"."""
    return layer.type.removesuffix("_attention")


def total_seconds(result: CaseResult) -> float:
    """The time of all stages together."""
    return float(sum(result.seconds.values()))


def _row(result: CaseResult) -> dict[str, Any]:
    wrong = [layer for layer in result.layers if layer.differs]
    logits, declared = result.logits, result.declared or {}
    return {
        "verdict": result.verdict.value,
        "case": plain(result.case),
        "title": plain(result.title),
        "layout": plain(result.layout),
        "model": plain(result.model.get("name", "")),
        "setting": setting_label(result),
        "tokens": len(result.tokens),
        "layers": len(result.layers),
        "differing_layers": layer_list([layer.index for layer in wrong]),
        "differing_types": ", ".join(dict.fromkeys(short_type(layer) for layer in wrong)),
        "first_diverging_layer": result.first_diverging_layer,
        "missing": sum(layer.missing for layer in wrong),
        "extra": sum(layer.extra for layer in wrong),
        "serving_policies": ", ".join(dict.fromkeys(layer.serving_policy or "none known" for layer in wrong)),
        "logits_max_abs_diff": logits.max_abs_diff if logits else None,
        "logits_ratio": logits.ratio if logits else None,
        "logits_within": logits.within if logits else None,
        "kl_max": logits.kl_max if logits else None,
        "top1_agreement": logits.top1_agreement if logits else None,
        "declared_policy": plain(declared.get("policy", "")),
        "declared_link": plain(declared.get("link", "")),
        "seconds": total_seconds(result),
        "diagnosis": plain(result.diagnosis),
        "reproduce": plain(result.reproduce),
        **_setting_fields(result.setting),
        **({NODE: plain(result.extra[NODE])} if NODE in result.extra else {}),
    }


def _setting_fields(setting: dict[str, Any]) -> dict[str, str]:
    fields = {name: _word(setting.get(name)) for name in SETTING_COLUMNS}
    return fields | {"runner": _word(setting.get("engine runner", setting.get("runner")))}


def _no_formula(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and (cell[:1] == "\t" or cell.lstrip()[:1] in tuple(FORMULA)) else cell


def _word(value: Any) -> str:
    if value is None or value in ((), []):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return plain("; ".join(map(str, value)) if isinstance(value, (list, tuple)) else value)


def _layer_row(result: CaseResult, layer: LayerResult) -> dict[str, Any]:
    ranges = layer.declared_ranges
    return {
        "case": plain(result.case),
        "setting": setting_label(result),
        "verdict": result.verdict.value,
        "layer": layer.index,
        "type": short_type(layer),
        "window": layer.window,
        "kv_head_groups": layer.kv_head_groups,
        "reference_pairs": layer.reference_pairs,
        "serving_pairs": layer.serving_pairs,
        "missing": layer.missing,
        "extra": layer.extra,
        "reference_policy": layer.reference_policy,
        "serving_policy": layer.serving_policy,
        "attention_max_abs_diff": layer.attention_max_abs_diff,
        "hidden_max_abs_diff": layer.hidden_max_abs_diff,
        "declared_ranges": None if ranges is None else "; ".join("-".join(map(str, pair)) for pair in ranges),
        "first_difference": plain(layer.first_difference["text"]) if layer.first_difference else None,
    }
