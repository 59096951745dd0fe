"""Tests as cells: `--harness-ray` of the pytest plugin. What each node tells of a test is reported here as if it had run here."""

from __future__ import annotations

import shutil
from contextlib import closing, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from harness.campaigns.nightly import LOST, RAN, STATE
from harness.campaigns.tested import Place, Told, tested
from harness.cli.machines import check, machines, needed, told
from harness.cli.parallel import JOBS
from harness.compare.result import CaseResult, on_node
from harness.compare.verdict import Verdict
from harness.console import Console
from harness.errors import EnvironmentFailure, UsageError
from harness.report.journal import Recorder
from harness.verification.catalogue import HERE
from harness.verification.interpreters import platform_of
from harness.verification.machines import Cell, Found, Lost, Machines, Over, Packed
from harness.verification.machines.side import NODES_OWN
from harness.verification.workplace import Workplace

AS_THEY_ARE = {
    "--harness-profile": "harness_profile",
    "--harness-overlay": "harness_overlay",
    "--harness-model": "harness_model",
    "--harness-case-timeout": "harness_case_timeout",
    "--harness-start-timeout": "harness_start_timeout",
}
"""Options of the plugin that a node's pytest is given as the command has them."""


class Elsewhere:
    """A plugin that has the tests of a run done by the nodes of a cluster; a cell is a test with all of its parameters."""

    def __init__(self, config: pytest.Config, ray: str, needs: str | None, python: str):
        check(ray, needs)
        if getattr(config.option, "numprocesses", None):
            raise UsageError("harness-ray", ray, "without -n: the cluster has the processes")
        self._config, self._ray = config, ray
        self._needs = needed(needs, int(platform_of(python) == "cuda"))
        folder = config.getoption("--harness-report")
        self._recorder = Recorder(Path(folder) if folder else None)
        self._items: dict[str, pytest.Item] = {}
        self._done: set[str] = set()
        self._lost: dict[str, list[str]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted("errors while tests were collected")
        if session.config.option.collectonly:
            return True
        self._items = {item.nodeid: item for item in session.items}
        try:
            self._run(session)
        except (EnvironmentFailure, UsageError) as error:
            for test in self._items:
                self._report("", test, "", self._without_answer(test, error))
        return True

    def _run(self, session: pytest.Session) -> None:
        """Have the cells run, and hear of each.

        Raises:
            EnvironmentFailure: there is no such cluster, or it is lost.
            UsageError: none of its nodes has what a cell needs.
        """
        with closing(Workplace()) as work, machines(self._ray, None, JOBS) as places:
            cells = self._cells(places, work.folder("known"))
            with closing(places.run(cells, nullcontext)) as came:
                for one in came:
                    self._hear(one)
                    if session.shouldfail:
                        raise session.Failed(session.shouldfail)
                    if session.shouldstop:
                        raise session.Interrupted(session.shouldstop)

    def _cells(self, places: Machines, folder: Path) -> list[Cell]:
        words, known, root = self._words(places), self._known(places, folder), self._config.rootpath
        by_function = groupby(self._items.items(), key=lambda one: one[0].partition("[")[0])
        cells = []
        for name, some in by_function:
            items = dict(some)
            place = Place.of(root, next(iter(items.values())).path)
            cells.append(Cell(name, tested, ([*items], words, place, known), name.partition("::")[0], self._needs))
        return cells

    def _words(self, places: Machines) -> list[str]:
        words = []
        for option, name in AS_THEY_ARE.items():
            given = self._config.getoption(name)
            for value in given if isinstance(given, list) else [given]:
                words += [option, str(value)] if value is not None else []
        for side in ("serving", "reference"):
            python = self._config.getoption(f"harness_{side}")
            name = places.named(python) if python else NODES_OWN
            words += [f"--harness-{side}", name] if name != NODES_OWN else []
        given = self._config.getoption("--harness-known")
        return [*words, *(["--harness-known", HERE] if HERE in given else [])]

    def _known(self, places: Machines, folder: Path) -> Packed | None:
        files = [name for name in self._config.getoption("--harness-known") if name != HERE]
        for number, name in enumerate(files):
            shutil.copyfile(name, folder / f"{number:03}-{Path(name).name}")
        return places.packed(folder) if files else None

    def _hear(self, one: Found | Over | Lost) -> None:
        match one:
            case Lost(cell=cell, where=where):
                told(one, Console(stderr=True))
                self._lost.setdefault(cell.name, []).append(where)
            case Found(cell=cell, item=Told() as item, where=where):
                for data in item.results if item.test not in self._done else ():
                    self._recorder.append(on_node(CaseResult.from_dict(data), where))
                self._report(cell.name, item.test, where, item.reports)
            case Over(cell=cell, failure=failure, where=where):
                for test in cell.arguments[0]:
                    self._report(cell.name, test, where, self._without_answer(test, failure))

    def _report(self, cell: str, test: str, where: str, reports: list[dict[str, Any]]) -> None:
        """Log the reports of a test that has none yet: a ``cell`` that is run again tells of all its tests. ``where`` is "" for a
        test that no node was asked for."""
        if test in self._done or test not in self._items:
            return
        self._done.add(test)
        hook, location = self._config.hook, self._items[test].location
        places = [*([(RAN, where)] if where else []), *((LOST, one) for one in self._lost.get(cell, ()))]
        hook.pytest_runtest_logstart(nodeid=test, location=location)
        for data in reports:
            report = hook.pytest_report_from_serializable(config=self._config, data=data)
            report.user_properties += places
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=test, location=location)

    def _without_answer(self, test: str, failure: Exception | None) -> list[dict[str, Any]]:
        """The reports of a test that its node has told nothing of."""
        why = f"{failure}\n{getattr(failure, 'log', '')}".strip() if failure else "the node has not run it"
        about: dict[str, Any] = {"nodeid": test, "location": self._items[test].location, "keywords": {}}
        state = [(STATE, Verdict.ERROR.value)]
        made = [
            pytest.TestReport(**about, outcome="failed", longrepr=why, when="setup", user_properties=[*state]),
            pytest.TestReport(**about, outcome="passed", longrepr=None, when="teardown", user_properties=[*state]),
        ]
        to_data = self._config.hook.pytest_report_to_serializable
        return [to_data(config=self._config, report=report) for report in made]
