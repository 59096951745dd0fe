"""What the README says of the catalogue is so."""

from __future__ import annotations

import re

from cases.catalogue import entries
from harness.drivers.process import ROOT


def test_a_report_has_as_many_cases_and_results_as_the_readme_says() -> None:
    said = re.search(r"make report +# (\d+) cases, (\d+) results", (ROOT / "README.md").read_text(encoding="utf-8"))
    every = entries("cpu")
    assert said and [*map(int, said.groups())] == [len({case.name for case, _ in every}), len(every)]
