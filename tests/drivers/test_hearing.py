"""A signal is heard in every kind of wait, also where another thread takes it or a finaliser drops what its handler raised."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.drivers.process import ROOT
from tests.drivers.processes import interruptible

WAITS = {
    "a queue": "from queue import SimpleQueue; SimpleQueue().get()",
    "a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a thread": "thread = threading.Thread(target=time.sleep, args=(60,), daemon=True); thread.start(); thread.join()",
    "a future": "from concurrent.futures import Future; Future().result()",
    "a process": "subprocess.Popen(['sleep', '15']).wait()",
    "what a process prints": "subprocess.Popen(['sleep', '15'], stdout=subprocess.PIPE).communicate()",
    "a pipe": "os.read(os.pipe()[0], 1)",
    "a connection": "from multiprocessing import Pipe; ends = Pipe(); ends[0].recv()",
    "a select": "import select; select.select([os.pipe()[0]], [], [])",
    "a file's lock": "import fcntl; one, other = open('lock', 'w'), open('lock', 'w'); fcntl.flock(one, 2); fcntl.flock(other, 2)",
    "a sleep": "time.sleep(60)",
}
TAKEN = """
import os, signal, subprocess, sys, threading, time
from harness.drivers.signals import Ended, heed
heed()
def take():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.{name})
    time.sleep(60)
threading.Thread(target=take, daemon=True).start()
try:
    {wait}
except Ended as ended:
    os._exit(ended.code)
"""
DROPPED = """
import os, signal, time, weakref
from harness.drivers.signals import Ended, heed
class One:
    pass
def end(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
class Last:
    __del__ = end
heed()
try:
    {drop}
    time.sleep(60)
except Ended as ended:
    os._exit(ended.code)
"""
DROPS = {
    "a finaliser": "Last()",
    "a weak reference's callback": "one = One(); seen = weakref.ref(one, end); del one",
}


def code_of(program: str, place: object) -> int:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        cwd=place,
        timeout=30,
        check=False,
        preexec_fn=interruptible,
    )
    return done.returncode


@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_that_another_thread_takes_ends_the_wait(tmp_path: object, wait: str) -> None:
    assert code_of(TAKEN.format(name="SIGTERM", wait=WAITS[wait]), tmp_path) == 143


@pytest.mark.parametrize("drop", DROPS)
def test_a_signal_whose_exception_was_dropped_comes_again(tmp_path: object, drop: str) -> None:
    assert code_of(DROPPED.format(drop=DROPS[drop]), tmp_path) == 143


def test_a_signal_that_was_heard_does_not_come_again(tmp_path: object) -> None:
    program = TAKEN.replace("os._exit(ended.code)", "time.sleep(2)\nos._exit(7)")
    assert code_of(program.format(name="SIGHUP", wait=WAITS["a queue"]), tmp_path) == 7
