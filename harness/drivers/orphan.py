"""Starts a driver module that ends, with all its children, when the harness that started it ends in whatever way.

``python -m harness.drivers.orphan HARNESS_PID MODULE READ_FD WRITE_FD``
"""

import os
import runpy
import signal
import sys
import threading
import time


def _watch(harness: int) -> None:
    while os.getppid() == harness:
        time.sleep(0.5)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    parent, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__")
    sys.stdout.flush()
    sys.stderr.flush()
    os.killpg(os.getpid(), signal.SIGKILL)
