"""A driver that starts in a moment: it does what it is asked to over the real channel.

Run as ``PYTHON -m tests.drivers.parent READ_FD WRITE_FD``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.drivers import channel
from harness.errors import UsageError


def child(request: dict) -> dict:
    """Start a child that would live for a minute."""
    return {"pid": subprocess.Popen(["sleep", "60"]).pid}


def die(request: dict) -> dict:
    os.kill(os.getpid(), getattr(signal, request["signal"]))
    time.sleep(60)
    return {}


def leave(request: dict) -> dict:
    os._exit(request["code"])


def say(request: dict) -> dict:
    print(request["text"])
    return {"said": request["text"]}


def fail(request: dict) -> dict:
    raise LookupError("nothing of the kind")


def refuse(request: dict) -> dict:
    raise UsageError("layout", "x5", "something else")


def later(request: dict) -> channel.Later:
    """Answer when a file of this name is there, and with a failure if it has something in it."""
    path = Path(request["path"])

    def finish() -> None:
        while not path.exists():
            time.sleep(0.01)
        if path.read_text():
            raise LookupError(path.read_text())

    return channel.Later({"path": str(path)}, finish)


def rest(request: dict) -> dict:
    time.sleep(request["seconds"])
    return {}


def hang(request: dict) -> dict:
    print("hanging")
    time.sleep(60)
    return {}


def hold(request: dict) -> dict:
    """Compute for a minute without giving another thread a turn, as a kernel may."""
    print("hanging", flush=True)
    ctypes.PyDLL(None).sleep(60)
    return {}


def stop(request: dict) -> dict:
    print("hanging", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    return {}


def spill(request: dict) -> dict:
    """Leave files where temporary ones go, and print much."""
    place = Path(tempfile.mkdtemp(prefix="torchinductor_"))
    (place / "kernel").touch()
    print("x" * request["wide"])
    for number in range(request["lines"]):
        print("\x1b[1;36mline\x1b[0m", number)
    return {"place": str(place)}


if __name__ == "__main__":
    handlers = {f.__name__: f for f in (child, die, leave, say, fail, refuse, later, rest, hang, hold, stop, spill)}
    channel.serve(handlers, int(sys.argv[1]), int(sys.argv[2]))
