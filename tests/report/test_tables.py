"""Tables say what the masks in the results say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.compare.result import CaseResult, LayerResult, decode_mask
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.report.tables import SETTING_COLUMNS, counts, gravest_first, layer_table, overview, setting_label
from harness.report.text import layer_list
from tests.report.results import LINK, one_of_each, result

EACH = one_of_each()


def masks(result: CaseResult, layer: LayerResult) -> tuple[np.ndarray, np.ndarray]:
    reference, serving = (decode_mask(layer.masks[side], len(result.tokens)) for side in ("reference", "serving"))
    return reference, serving


def row(result: CaseResult) -> dict:
    (only,) = overview([result]).to_dict("records")
    return only


def test_the_overview_has_a_row_a_result_in_the_order_given() -> None:
    backwards = EACH[::-1]
    assert list(overview(backwards)["case"]) == [result.case for result in backwards]
    assert list(overview(backwards)["verdict"]) == [result.verdict.value for result in backwards]


def test_pairs_are_those_of_the_masks_summed_over_layers() -> None:
    for one, found in zip(EACH, overview(EACH).to_dict("records"), strict=True):
        pairs = [masks(one, layer) for layer in one.layers]
        assert found["missing"] == sum(int((reference & ~serving).sum()) for reference, serving in pairs)
        assert found["extra"] == sum(int((serving & ~reference).sum()) for reference, serving in pairs)


def test_the_layers_that_differ_are_named_with_their_types_and_policies() -> None:
    sliding = row(result(policy="drop", layers="ssfs"))
    assert (sliding["differing_layers"], sliding["differing_types"]) == ("0-1, 3", "sliding")
    assert (sliding["serving_policies"], sliding["first_diverging_layer"], sliding["layers"]) == ("drop", 0, 4)
    assert row(result(policy="everywhere"))["differing_types"] == "sliding, full"
    equal = row(result())
    assert (equal["differing_layers"], equal["differing_types"], equal["serving_policies"]) == ("", "", "")


def test_a_result_without_an_answer_has_no_logits() -> None:
    table = overview(EACH).set_index("verdict")
    columns = ["logits_max_abs_diff", "logits_ratio", "logits_within", "kl_max", "top1_agreement"]
    assert table.loc["ERROR", columns].isna().all()
    assert table.loc["PASS", columns].notna().all()


def test_a_declared_divergence_brings_its_link() -> None:
    links = overview(EACH).set_index("case")["declared_link"]
    assert links["two-images"] == LINK
    assert links["image-first"] == ""


def test_the_setting_is_spelt_out_last_and_the_runner_is_the_one_that_the_engine_chose() -> None:
    setting = Setting.of(runner="auto", prefix_caching=True, mates=("t5 i9", "t3"), chunk=16)
    assert tuple(overview(EACH).columns[-len(SETTING_COLUMNS) :]) == SETTING_COLUMNS
    found = row(result(setting=setting))
    assert {name: found[name] for name in ("runner", "prefix_caching", "mates", "chunk", "overlays")} == {
        "runner": "v2",
        "prefix_caching": "on",
        "mates": "t5 i9; t3",
        "chunk": "16",
        "overlays": "none",
    }


def test_no_results_make_tables_with_columns_and_no_rows() -> None:
    for made, filled in ((overview([]), overview(EACH)), (layer_table([]), layer_table(EACH))):
        assert made.empty
        assert list(made.columns) == list(filled.columns)


def test_the_layer_table_has_a_row_a_layer() -> None:
    table = layer_table(EACH)
    expected = [(result.case, layer.index) for result in EACH for layer in result.layers]
    assert list(table[["case", "layer"]].itertuples(index=False, name=None)) == expected
    assert set(table["type"]) == {"sliding", "full"}


def test_the_layer_table_adds_up() -> None:
    table = layer_table(EACH)
    pd.testing.assert_series_equal(
        table["reference_pairs"] - table["missing"] + table["extra"], table["serving_pairs"], check_names=False
    )
    differs = (table["missing"] + table["extra"]) > 0
    assert (table["reference_policy"] != table["serving_policy"]).equals(differs)
    assert table["first_difference"].notna().equals(differs)


@given(st.permutations(EACH))
def test_counts_and_order_put_the_gravest_first(results: list[CaseResult]) -> None:
    found = counts(results)
    assert list(found) == [Verdict.DIVERGED, Verdict.ERROR, Verdict.FIXED, Verdict.KNOWN, Verdict.PASS]
    assert list(found.values()) == [3, 1, 1, 1, 1]
    ordered = gravest_first(results)
    assert [result.verdict for result in ordered] == [verdict for verdict in found for _ in range(found[verdict])]
    diverged = [result for result in results if result.verdict is Verdict.DIVERGED]
    assert ordered[: len(diverged)] == diverged


def test_verdicts_that_did_not_occur_are_counted_as_none() -> None:
    assert set(counts([]).values()) == {0}


@given(st.sets(st.integers(0, 30)))
def test_a_list_of_layers_names_each_of_them_once(indices: set[int]) -> None:
    named: list[int] = []
    for part in filter(None, layer_list(list(indices)).split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(indices)


@pytest.mark.parametrize(
    ("label", "chosen", "shown"),
    [
        ("auto v1 bfloat16", "FLASH_ATTN", "auto (FLASH_ATTN) v1 bfloat16"),
        ("auto v1 bfloat16", None, "auto v1 bfloat16"),
        ("cpu auto float32", "CPU_ATTN", "cpu auto float32"),
    ],
)
def test_a_back_end_that_the_engine_chose_is_named(label: str, chosen: str | None, shown: str) -> None:
    one = EACH[0]
    setting = {**one.setting, "label": label, "engine backend": chosen}
    assert setting_label(replace(one, setting=setting)) == shown
