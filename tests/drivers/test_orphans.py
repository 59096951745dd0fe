"""A driver does not outlive its harness, in whatever way that ends."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.drivers.process import ROOT
from tests.drivers.processes import in_group, interruptible, lives, within

HARNESS = """
import json, sys, time
from pathlib import Path
from harness.drivers.process import Driver
driver = Driver("tests.drivers.parent", sys.executable, Path(sys.argv[1]))
child = driver.ask("child", timeout=30)["pid"]
print(json.dumps({"driver": driver.process.pid, "child": child}), flush=True)
if sys.argv[2] == "working":
    driver.ask("hang", timeout=60)
time.sleep(60)
"""


@pytest.mark.parametrize("doing", ["idle", "working"])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_no_process_is_left(tmp_path: Path, how: str, doing: str) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path / "log"), doing],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, preexec_fn=interruptible,
    )  # fmt: skip
    pids = json.loads(harness.stdout.readline())
    assert lives(pids["driver"]) and lives(pids["child"])
    assert doing == "idle" or within(10, lambda: "hanging" in (tmp_path / "log").read_text())
    harness.send_signal(getattr(signal, how))
    harness.wait(timeout=10)
    harness.stdout.close()
    assert within(10, lambda: in_group(pids["driver"]) == [])
    assert not lives(pids["driver"]) and not lives(pids["child"])
