"""The pytest plugin: options, a session with both sides, the report of a run, and exit codes as the command line has them.

It does nothing in a run that uses none of its options and fixtures.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from harness.campaigns.nightly import STATE
from harness.campaigns.tested import TELL
from harness.cli.machines import check
from harness.cli.tests import Elsewhere
from harness.compare import failure
from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.verdict import Verdict
from harness.drivers.supervise import die_with
from harness.drivers.timeouts import Timeouts
from harness.engines.vllm.overlays import check_names
from harness.errors import EnvironmentFailure, UsageError
from harness.families import checkpoint
from harness.prompts.model_spec import ModelSpec
from harness.report.journal import Recorder
from harness.report.pytest_run import Reporting
from harness.report.pytest_telling import Telling
from harness.verification import environments, gpus
from harness.verification.catalogue import declared
from harness.verification.interpreters import platform_of
from harness.verification.session import Session

PROFILES = {"dev": 5, "ci": 40, "nightly": 2000}
"""Generated layouts a property."""
NIGHTLY_TIMEOUT = 2 * 3600
"""Seconds a test; 2,000 layouts take 10 to 40 minutes."""
TELLING = "harness-telling"
_WRONG = pytest.StashKey[list[CaseResult]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "reference versus serving")
    group.addoption("--harness-profile", choices=list(PROFILES), default=None, help="how many generated layouts")
    group.addoption("--harness-report", metavar="DIR", help="write the HTML report of the cases that ran")
    group.addoption(
        "--harness-overlay", action="append", default=[], metavar="NAME", help="laid over what properties serve"
    )
    group.addoption(
        "--harness-known",
        action="append",
        default=[],
        metavar="FILE",
        help="a TOML file of known divergences; repeatable",
    )
    group.addoption(
        "--harness-model", metavar="MODEL", help="a preset or a checkpoint: properties of cases/ are verified on it too"
    )
    for side, what in (("serving", "vllm"), ("reference", "transformers")):
        text = f"release, source tree or interpreter of {what} (default: this interpreter)"
        group.addoption(f"--harness-{side}", dest=f"harness_{side}", metavar="SIDE", help=text)
    group.addoption(
        "--harness-case-timeout", type=float, default=900.0, help="seconds that a case may take on either side"
    )
    group.addoption("--harness-ray", metavar="ADDRESS", help="run the tests on a Ray cluster (docs/scaling.md)")
    group.addoption("--harness-needs", metavar="WORDS", help="with --harness-ray: what each test takes of a node")
    group.addoption(TELL, type=int, default=None, help=argparse.SUPPRESS)
    group.addoption("--harness-start-timeout", type=float, default=600.0, help="seconds to load or build a checkpoint")
    parser.addini(
        "harness_exit_codes", "1 for a divergence and nothing else, 3 for a test without an answer", "bool", False
    )


def pytest_configure(config: pytest.Config) -> None:
    profile, folder = config.getoption("--harness-profile"), config.getoption("--harness-report")
    if profile:
        _load_profile(profile, config.rootpath)
    try:
        _check_given(config)
        check_names(config.getoption("--harness-overlay"))
        declared(config.getoption("--harness-known"))
        if config.getoption("--harness-model"):
            checkpoint.model(config.getoption("--harness-model"))
        for side in ("serving", "reference"):
            if given := config.getoption(f"harness_{side}"):
                setattr(config.option, f"harness_{side}", environments.interpreter(given, side))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    except EnvironmentFailure as error:
        pytest.exit(str(error), returncode=3)
    if worker_of(config):
        if config.getini("harness_exit_codes"):
            die_with(os.getppid())
        return
    if config.getini("harness_exit_codes"):
        config.pluginmanager.register(ExitCode(), "harness-exit-code")
    if (descriptor := config.getoption(TELL)) is not None:
        config.pluginmanager.register(Telling(config, descriptor), TELLING)
        return
    _go_elsewhere(config)
    if folder and not config.option.collectonly:
        config.pluginmanager.register(Reporting(config, "harness-report", Path(folder)), "harness-report")


GIVEN = ("serving", "reference", "model", "report")
"""Options that an unset variable of a shell would leave empty."""


def _check_given(config: pytest.Config) -> None:
    for name in GIVEN:
        if config.getoption(f"harness_{name}") == "":
            raise UsageError(f"harness-{name}", "", "a value, or leave the option out")
    _timeouts(config)


def _timeouts(config: pytest.Config) -> Timeouts:
    return Timeouts(config.getoption("--harness-case-timeout"), config.getoption("--harness-start-timeout"))


def _go_elsewhere(config: pytest.Config) -> None:
    """Have the nodes of a cluster run the tests, where that is asked for."""
    ray, needs = config.getoption("--harness-ray"), config.getoption("--harness-needs")
    try:
        if ray is None:
            check(ray, needs)
        else:
            config.pluginmanager.register(Elsewhere(config, ray, needs, serving_python(config)), "harness-elsewhere")
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    except EnvironmentFailure as error:
        pytest.exit(str(error), returncode=3)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--harness-profile") == "nightly":
        for item in items:
            item.add_marker(pytest.mark.timeout(NIGHTLY_TIMEOUT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None:
        property_ = (STATE, state_of(call.excinfo.value, report.when, item.stash.get(_WRONG, [])).value)
        report.user_properties.append(property_)
        item.user_properties.append(property_)
    return report


def state_of(error: BaseException, when: str, wrong: list[CaseResult]) -> Verdict:
    """What a failed test says of serving: the gravest verdict of its results that are ``wrong``, if it has some; DIVERGED where
    the test itself failed by an assertion; ERROR where it, or what it needs, gave no answer."""
    if when != "call" or isinstance(error, EnvironmentFailure):
        return Verdict.ERROR
    if wrong:
        return min((result.verdict for result in wrong), key=lambda verdict: -verdict.exit_code)
    return Verdict.DIVERGED if isinstance(error, AssertionError) else Verdict.ERROR


class ExitCode:
    """Ends a run as the command line does."""

    def __init__(self) -> None:
        self.worst = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            state = dict(report.user_properties).get(STATE, Verdict.ERROR)
            self.worst = max(self.worst, Verdict(str(state)).exit_code)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.worst = Verdict.ERROR.exit_code

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.worst:
            session.exitstatus = self.worst


@pytest.fixture(scope="session")
def harness_session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The drivers, started when first needed and shared by everything in this process. Workers take the GPUs in turn."""
    serving = serving_python(request.config)
    reference = request.config.getoption("harness_reference") or sys.executable
    try:
        platform_of(serving)
    except EnvironmentFailure as error:
        pytest.fail(str(error), pytrace=False)
    keep = tmp_path_factory.mktemp("session")
    worker = worker_of(request.config)
    own = gpus.in_turn(int(worker.removeprefix("gw")), serving) if worker else None
    with Session(
        reference_python=reference,
        serving_python=serving,
        keep=keep,
        gpu=own,
        timeouts=_timeouts(request.config),
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
def harness_recorder(request: pytest.FixtureRequest) -> Recorder:
    """Where results go; `--harness-report` makes a report of those of all workers when the run ends."""
    if telling := request.config.pluginmanager.get_plugin(TELLING):
        return telling
    folder = request.config.getoption("--harness-report")
    return Recorder(Path(folder) if folder else None)


@pytest.fixture(scope="session")
def harness_model(request: pytest.FixtureRequest) -> ModelSpec:
    """What `--harness-model` names; a test that asks for it is skipped where nothing is named."""
    name = request.config.getoption("--harness-model")
    return checkpoint.model(name) if name else pytest.skip("needs --harness-model")


@pytest.fixture(scope="session")
def harness_known(request: pytest.FixtureRequest) -> list[Declared]:
    """What the files of `--harness-known` declare."""
    return declared(request.config.getoption("--harness-known"))


@pytest.fixture
def harness_expect(request: pytest.FixtureRequest) -> Callable[[list[CaseResult]], None]:
    """Fails the test with layout, masks, diagnosis and command unless each of these results is as expected."""

    def expect(results: list[CaseResult]) -> None:
        wrong = [result for result in results if not result.verdict.as_expected]
        request.node.stash[_WRONG] = wrong
        if wrong:
            pytest.fail(failure.text(wrong[0]), pytrace=False)

    return expect


def serving_python(config: pytest.Config) -> str:
    """The interpreter that serves."""
    return config.getoption("harness_serving") or sys.executable


def worker_of(config: pytest.Config) -> str:
    """The name of this process among those of pytest-xdist, such as gw0; nothing in the one that started them."""
    return getattr(config, "workerinput", {}).get("workerid", "")


def _load_profile(name: str, root: Path) -> None:
    """Where hypothesis finds CI=true it takes no database and the same examples each time; a night is there for new ones."""
    profile = f"harness-{name}"
    night: dict[str, Any] = {
        "derandomize": False,
        "database": DirectoryBasedExampleDatabase(root / ".hypothesis" / "examples"),
    }
    settings.register_profile(
        profile,
        max_examples=PROFILES[name],
        deadline=None,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        **(night if name == "nightly" else {}),
    )
    settings.load_profile(profile)
