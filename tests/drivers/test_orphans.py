"""A driver does not outlive its harness, in whatever way that ends and whatever the driver does, nor its children either."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.drivers.process import ROOT, Driver
from tests.drivers.parent import Child, Say
from tests.drivers.processes import in_group, interruptible, lives, within

HARNESS = """
import json, sys, time
from pathlib import Path
from harness.drivers.process import Driver
from tests.drivers import parent
driver = Driver("tests.drivers.parent", "parent", sys.executable, Path(sys.argv[1]))
child = driver.ask(parent.Child(), timeout=30).pid
print(json.dumps({"driver": driver.process.pid, "child": child}), flush=True)
if sys.argv[2] != "idle":
    driver.ask(getattr(parent, sys.argv[2])(), timeout=60)
time.sleep(60)
"""


@pytest.mark.parametrize("doing", ["idle", "Hang", "Hold", "Stop"])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
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


def test_a_driver_whose_guard_is_stopped_with_it_ends_with_its_harness(tmp_path: Path) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path / "log"), "Hang"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, preexec_fn=interruptible,
    )  # fmt: skip
    pids = json.loads(harness.stdout.readline())
    assert within(10, lambda: "hanging" in (tmp_path / "log").read_text())
    (guard,) = [pid for pid in children(pids["driver"]) if pid != pids["child"]]
    for pid in (guard, pids["driver"], pids["child"]):
        os.kill(pid, signal.SIGSTOP)
    harness.kill()
    harness.wait(timeout=10)
    harness.stdout.close()
    assert within(10, lambda: not any(map(lives, (guard, *pids.values()))))


def test_a_driver_outlives_a_thread_that_started_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        driver = pool.submit(Driver, "tests.drivers.parent", "parent", sys.executable, tmp_path / "log").result()
    assert driver.ask(Say("still here"), timeout=30).text == "still here"
    driver.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


DIES_WITH = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import os, sys, time; from harness.drivers.supervise import die_with; "
    "time.sleep(float(sys.argv[1])); die_with(int(sys.argv[2])); print('tied', flush=True); time.sleep(60)",
    sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE, text=True)
print(child.pid, flush=True)
if sys.argv[1] == "0":
    child.stdout.readline()
    os.kill(child.pid, 19)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("late", ["0", "2"], ids=["that is stopped", "whose parent ends before it looks"])
def test_a_worker_dies_with_its_parent(late: str) -> None:
    words = [sys.executable, "-c", DIES_WITH, late]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    worker = int(parent.stdout.readline())
    assert parent.stdout.readline() == "ready\n" and lives(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert within(10, lambda: not lives(worker))


def test_what_a_driver_started_ends_where_the_driver_is_killed_alone(tmp_path: Path) -> None:
    driver = Driver("tests.drivers.parent", "parent", sys.executable, tmp_path / "log")
    child = driver.ask(Child(), timeout=30).pid
    os.kill(driver.process.pid, signal.SIGKILL)
    assert within(10, lambda: not lives(child) and in_group(driver.process.pid) == [])
    driver.close()
