"""What `harness attach` prints of several results."""

from __future__ import annotations

import pytest

from harness.cli import attach
from harness.cli.options import Format
from harness.report.extent import Extent
from tests.report.results import one_of_each


@pytest.mark.parametrize("panels", [True, False])
def test_what_is_not_as_expected_is_explained_where_no_report_does(
    panels: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    results = one_of_each()
    attach._say(results, Extent(len(results), len(results)), Format.text, panels=panels)
    said = capsys.readouterr().out
    assert all((one.reproduce in said) == (panels and one.verdict.exit_code > 0) for one in results)
