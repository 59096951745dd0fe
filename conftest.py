"""What the project's own tests and cases add to `harness.pytest_plugin`: markers, GPU cases, and shorter names."""

from __future__ import annotations

import os
import sys

from harness.drivers import safe_path

safe_path.keep(os.path.dirname(os.path.abspath(__file__)))

from collections.abc import Callable

import pytest

from cases import gpu
from harness.engines.vllm.offered import offered
from harness.errors import EnvironmentFailure
from harness.pytest_plugin import serving_python, worker_of
from harness.report.journal import Recorder
from harness.verification.interpreters import inspect
from harness.verification.session import Session


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="include tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    if gpu.wanted(config.getoption("markexpr")) and not worker_of(config):
        _ask_the_release(serving_python(config))
    if worker_of(config) or os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def _ask_the_release(python: str) -> None:
    """Which back ends it offers for the GPU, before workers start and each asks."""
    if inspect(python)["vllm"] is None:
        pytest.exit(f"gpu: {python} has no CUDA build of vLLM; `make gpu` installs it", returncode=3)
    try:
        offered(gpu.MODEL, python)
    except EnvironmentFailure as error:
        pytest.exit(f"gpu: {error}", returncode=3)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = pytest.mark.skip(reason="slow: needs --slow")
    without_gpu = pytest.mark.skip(reason="gpu: no NVIDIA GPU is visible")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(slow)
        if "gpu" in item.keywords and not inspect(sys.executable)["gpus"]:
            item.add_marker(without_gpu)


@pytest.fixture(scope="session")
def session(harness_session: Session) -> Session:
    return harness_session


@pytest.fixture(scope="session")
def recorded(harness_recorder: Recorder) -> Recorder:
    return harness_recorder


@pytest.fixture
def as_expected(recorded: Recorder, harness_expect: Callable) -> Callable:
    """Keeps results for the report, and fails the test unless each is as expected."""

    def check(*results) -> None:
        recorded.extend(results)
        harness_expect(list(results))

    return check
