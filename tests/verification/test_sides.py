"""Where an interpreter's vLLM runs, and how a command names what a session runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.compare.setting import Setting
from harness.errors import EnvironmentFailure
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification import interpreters
from harness.verification.environments import uv
from harness.verification.interpreters import inspect, platform_of
from harness.verification.session import Session
from harness.verification.verify import command


def with_vllm(folder: Path, version: str) -> str:
    """An interpreter in which this vLLM is installed."""
    uv.bare(Path(sys.executable), folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    record = packages / f"vllm-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    return str(folder / "bin" / "python")


@pytest.mark.parametrize("version", ["0.33.0+cpu", "0.33.1.dev3+gabc.cpu"])
def test_a_build_from_source_for_a_cpu_runs_on_a_cpu(version: str, tmp_path: Path) -> None:
    assert platform_of(with_vllm(tmp_path / "built", version)) == "cpu"


@pytest.mark.skipif(bool(inspect(sys.executable)["gpus"]), reason="this machine has a GPU")
@pytest.mark.parametrize("version", ["0.33.0", "0.33.0+cu130"])
def test_a_build_for_cuda_needs_a_gpu(version: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="built for CUDA"):
        platform_of(with_vllm(tmp_path / "built", version))


@pytest.mark.parametrize(
    ("there", "visible", "counted"),
    [
        (4, None, 4),
        (4, "2", 1),
        (4, "2,0", 2),
        (4, "", 0),
        (4, "0,-1,1", 1),
        (4, "0,7", 1),
        (4, "0,0", 0),
        (4, "none", 0),
        (4, "GPU-5f,GPU-6a", 2),
        (0, "0", 0),
    ],
)
def test_gpus_are_those_that_cuda_counts(
    monkeypatch: pytest.MonkeyPatch, there: int, visible: str | None, counted: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices = f"import glob; glob.glob = lambda pattern: [f'/dev/nvidia{{n}}' for n in range({there})]"
    done = subprocess.run([sys.executable, "-c", devices + interpreters._INSPECT], capture_output=True, check=True)
    assert json.loads(done.stdout)["gpus"] == counted


@pytest.mark.skipif(not inspect(sys.executable)["transformers"], reason="transformers is not installed")
def test_a_command_names_the_sides_that_are_not_this_interpreter(tmp_path: Path) -> None:
    python = with_vllm(tmp_path / "built", "0.33.0+cpu")
    with Session(serving_python=python) as session:
        assert session.sides == ("--serving", python)
        assert session.versions["vllm"] == "0.33.0+cpu"
        assert session.versions["transformers"] == inspect(sys.executable)["transformers"]
        said = command(Case("run", "", layout="t3"), Setting(), preset("tiny"), session)
    assert said.startswith(f"harness run --serving {python} --layout t3 ")
