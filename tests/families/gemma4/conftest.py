"""Building in the process that builds: the reference driver."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.drivers.process import Driver


@pytest.fixture
def builders(tmp_path: Path) -> Iterator:
    """A function that starts one more driver."""
    started: list[Driver] = []

    def start() -> Driver:
        log = tmp_path / "logs" / f"{len(started)}.log"
        started.append(
            Driver("harness.references.transformers.driver", "reference", sys.executable, log, {"HF_HUB_OFFLINE": "1"})
        )
        return started[-1]

    yield start
    for driver in started:
        driver.close()


@pytest.fixture(scope="module")
def module_builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """One driver for a whole module."""
    log = tmp_path_factory.mktemp("logs") / "reference.log"
    driver = Driver("harness.references.transformers.driver", "reference", sys.executable, log, {"HF_HUB_OFFLINE": "1"})
    yield driver
    driver.close()
