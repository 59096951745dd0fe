"""docs/releases.md is what docs/releases.json says."""

import json

from harness.drivers.process import ROOT
from harness.report.matrix import markdown


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
