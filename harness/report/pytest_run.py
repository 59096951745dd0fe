"""The report of a pytest run, of what its processes have kept, however the run ends."""

from __future__ import annotations

import shlex
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.drivers.signals import ASKED, leave_terminal, unheeded
from harness.errors import UsageError
from harness.report import journal
from harness.report.extent import Extent
from harness.report.files import write_report
from harness.report.folder import claimed


class Reporting:
    """A plugin of the process that controls the run; ``option`` is the one that names the ``folder``."""

    def __init__(self, config: pytest.Config, option: str, folder: Path):
        self.folder, self.command = folder, "pytest " + shlex.join(config.invocation_params.args)
        self.planned = self.done = 0
        self.ended: int | None = None
        self.why = "ended early"
        self.stack = ExitStack()
        try:
            self.stack.enter_context(claimed(option, folder))
            journal.begin(option, folder, self.command)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)

    def _end(self, number: int, frame: object) -> None:
        """End as after Ctrl-C."""
        self.ended = number
        if number == signal.SIGHUP:
            leave_terminal()
        raise KeyboardInterrupt(signal.Signals(number).name)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.planned = max(self.planned, len(getattr(session, "items", ())))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self.planned = max(self.planned, len(ids))

    def pytest_runtest_logfinish(self) -> None:
        self.done += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.INTERRUPTED:
            self.why = f"interrupted by {ASKED[signal.Signals(self.ended or signal.SIGINT)]}"
        if self.ended:
            session.exitstatus = 128 + self.ended

    def pytest_unconfigure(self) -> None:
        with unheeded():
            results = sorted(journal.collected(self.folder), key=lambda result: result.setting["label"])
            if results:
                write_report(results, self.folder, self.command, self._extent())
            journal.end(self.folder)
            self.stack.close()

    def _extent(self) -> Extent:
        return Extent(self.done, self.planned, "tests", "" if self.done >= self.planned else self.why)
