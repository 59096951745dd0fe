"""Options, profiles and the engines that tests and cases share."""

from __future__ import annotations

import os

from harness import safe_path

safe_path.keep(os.path.dirname(os.path.abspath(__file__)))

import shlex  # noqa: E402  nothing else is imported before the path is safe
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from cases import gpu
from harness import environments, gpus
from harness.drivers.orphan import die_with
from harness.errors import EnvironmentFailure, UsageError
from harness.night import GRAVITY, state_of
from harness.overlays import check_names
from harness.report import parts
from harness.report.bundle import write_report
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.report.parts import Recorder
from harness.session import Session, host_of, inspect
from harness.timeouts import Timeouts

TIMEOUTS = Timeouts()
from harness.signals import ASKED, leave_terminal, unheeded

for name, examples in (("dev", 5), ("ci", 40), ("nightly", 2000)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
# Where hypothesis finds CI=true it takes no database and the same examples each time; a night is there for new ones.
settings.register_profile(
    "nightly",
    settings.get_profile("nightly"),
    derandomize=False,
    database=DirectoryBasedExampleDatabase(Path(__file__).with_name(".hypothesis") / "examples"),
)
NIGHTLY_TIMEOUT = 2 * 3600
"""Seconds a test; 2,000 layouts take 10 to 40 minutes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness")
    group.addoption("--profile", choices=["dev", "ci", "nightly"], default="ci", help="how many generated layouts")
    group.addoption("--report", default=None, metavar="DIR", help="write the HTML report of the cases that ran")
    group.addoption("--overlay", action="append", default=[], metavar="NAME", help="laid over what properties serve")
    group.addoption("--slow", action="store_true", help="include tests marked slow")
    for side, what in (("serving", "vllm"), ("reference", "transformers")):
        names = (f"--{side}", f"--{side}-source", f"--{side}-python")
        group.addoption(*names, dest=f"{side}_python", default=None, help=f"release, source tree or interpreter of {what} (default: this one)")
    group.addoption("--case-timeout", type=float, default=TIMEOUTS.case, help="seconds that a case may take on either side")
    group.addoption("--start-timeout", type=float, default=TIMEOUTS.start, help="seconds to load or build a checkpoint")


def pytest_configure(config: pytest.Config) -> None:
    if _worker(config):
        die_with(os.getppid())
    settings.load_profile(config.getoption("--profile"))
    try:
        check_names(config.getoption("--overlay"))
        for side in ("serving", "reference"):
            if given := getattr(config.option, f"{side}_python"):
                setattr(config.option, f"{side}_python", environments.interpreter(given, side))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    except EnvironmentFailure as error:
        pytest.exit(str(error), returncode=3)
    if not _worker(config):
        config.pluginmanager.register(ExitCode(), "harness-exit-code")
    if config.getoption("--report") and not config.option.collectonly and not _worker(config):
        config.pluginmanager.register(Reporting(config, Path(config.getoption("--report"))), "harness-report")
    if gpu.wanted(config.getoption("markexpr")) and not _worker(config):
        _ask_the_release(config.getoption("--serving-python") or sys.executable)
    if _worker(config) or os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


class ExitCode:
    """Ends a run as the command line does: 1 is a divergence and nothing else, 3 that something gave no answer."""

    def __init__(self) -> None:
        self.worst = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.worst = max(self.worst, GRAVITY[state_of(report.longreprtext, report.when == "call")])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.worst = GRAVITY["ERROR"]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.worst:
            session.exitstatus = self.worst


class Reporting:
    """Makes the report of `--report`, of what the processes of this run have kept, however the run ends."""

    def __init__(self, config: pytest.Config, folder: Path):
        self.folder, self.command = folder, "pytest " + shlex.join(config.invocation_params.args)
        self.planned = self.done = 0
        self.ended: int | None = None
        self.why = "ended early"
        self.stack = ExitStack()
        try:
            self.stack.enter_context(claimed("report", folder))
            parts.begin("report", folder, self.command)
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
            self.why = f"interrupted by {ASKED[self.ended or signal.SIGINT]}"
        if self.ended:
            session.exitstatus = 128 + self.ended

    def pytest_unconfigure(self) -> None:
        with unheeded():
            results = sorted(parts.collected(self.folder), key=lambda result: result.setting["label"])
            if results:
                write_report(results, self.folder, self.command, self._extent())
            parts.end(self.folder)
            self.stack.close()

    def _extent(self) -> Extent:
        return Extent(self.done, self.planned, "tests", "" if self.done >= self.planned else self.why)


def _ask_the_release(python: str) -> None:
    """Which back ends it offers for the GPU, before workers start and each asks."""
    if inspect(python)["vllm"] is None:
        pytest.exit(f"gpu: {python} has no CUDA build of vLLM; `make gpu` installs it", returncode=3)
    try:
        gpu.offered(python)
    except EnvironmentFailure as error:
        pytest.exit(f"gpu: {error}", returncode=3)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = pytest.mark.skip(reason="slow: needs --slow")
    without_gpu = pytest.mark.skip(reason="gpu: this machine has no NVIDIA GPU")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(slow)
        if "gpu" in item.keywords and not Path("/dev/nvidia0").exists():
            item.add_marker(without_gpu)
        if config.getoption("--profile") == "nightly":
            item.add_marker(pytest.mark.timeout(NIGHTLY_TIMEOUT))


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The drivers, started when first needed and shared by everything in this process. Workers take the GPUs in turn."""
    serving = request.config.getoption("--serving-python") or sys.executable
    reference = request.config.getoption("--reference-python") or sys.executable
    try:
        host_of(serving)
    except EnvironmentFailure as error:
        pytest.fail(str(error), pytrace=False)
    keep = tmp_path_factory.mktemp("session")
    timeouts = Timeouts(request.config.getoption("--case-timeout"), request.config.getoption("--start-timeout"))
    worker = _worker(request.config)
    own = gpus.in_turn(int(worker.removeprefix("gw")), serving) if worker else None
    with Session(reference_python=reference, serving_python=serving, keep=keep, gpu=own, timeouts=timeouts) as opened:
        yield opened


@pytest.fixture(scope="session")
def recorded(request: pytest.FixtureRequest) -> Recorder:
    """Where tests put their results; `--report` makes a report of those of all workers when the run ends."""
    folder = request.config.getoption("--report")
    return Recorder(Path(folder) if folder else None)


def _worker(config: pytest.Config) -> str:
    """The name of this process among those of pytest-xdist, such as gw0; nothing in the one that started them."""
    return getattr(config, "workerinput", {}).get("workerid", "")
