"""The GPU cases under every setting that the release offers; a declared divergence passes while it shows exactly that."""

import sys
from pathlib import Path

import pytest

from cases import gpu
from harness.case import Case
from harness.compare import failure
from harness.hunt import AS_EXPECTED
from harness.session import Session, inspect
from harness.setting import Setting
from harness.verify import verify

pytestmark = [pytest.mark.gpu, pytest.mark.engine]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    python = metafunc.config.getoption("--serving-python") or sys.executable
    wanted = "gpu" in (metafunc.config.getoption("markexpr") or "").replace("not gpu", "")
    entries = gpu.entries(python) if wanted and Path("/dev/nvidia0").exists() and inspect(python)["vllm"] else []
    names = [f"{case.name}-{setting.label.replace(' ', '-')}" for case, setting in entries]
    metafunc.parametrize(("case", "setting"), entries, ids=names)


def test_gpu_case(session: Session, recorded: list, case: Case, setting: Setting) -> None:
    result = verify(session, case, setting, gpu.DECLARED)
    recorded.append(result)
    if result.verdict not in AS_EXPECTED:
        pytest.fail(failure.text(result) if len(result.tokens) < 200 else f"{result.verdict}: {result.diagnosis}\n{result.reproduce}", pytrace=False)
