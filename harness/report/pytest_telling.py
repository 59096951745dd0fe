"""What a pytest that runs the tests of a cell tells of each, instead of making a report of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

from harness.campaigns.tested import Told
from harness.report.journal import RESULT, Recorder


class Telling(Recorder):
    """A plugin, and what keeps the results of its tests; writes a line to ``descriptor`` when a test has ended."""

    def __init__(self, config: pytest.Config, descriptor: int):
        super().__init__(None)
        self._config = config
        self._lines = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)
        os.set_inheritable(descriptor, False)
        self._reports: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []

    def note(self, kind: str, values: Iterable[Any]) -> None:
        if kind == RESULT:
            self._results += values

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._lines.write(Told(nodeid, self._reports, self._results).line())
        self._reports, self._results = [], []
