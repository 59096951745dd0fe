"""Starts a driver module that ends, with all its children, when the harness that started it ends in whatever way.

``python -m harness.drivers.supervise HARNESS_PID MODULE READ_FD WRITE_FD``
"""

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable


def end_with(parent: int, end: Callable[[], object]) -> None:
    """Call ``end`` when the process ``parent``, which started this one, is no more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        end()

    threading.Thread(target=watch, daemon=True).start()


def die_with(parent: int) -> None:
    """End this process when ``parent``, which started it, is no more."""
    end_with(parent, lambda: os.kill(os.getpid(), signal.SIGKILL))


if __name__ == "__main__":
    parent, module = int(sys.argv[1]), sys.argv[2]
    end_with(parent, lambda: os.killpg(os.getpid(), signal.SIGKILL))
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__")
    sys.stdout.flush()
    sys.stderr.flush()
    os.killpg(os.getpid(), signal.SIGKILL)
