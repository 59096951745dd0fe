"""The harness's end of a driver: starting it with any interpreter, asking, and burying it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import harness
from harness.drivers import safe_path
from harness.errors import CheckpointError, DriverFailure, UsageError
from harness.files.atomic import not_following
from harness.text import cut, uncoloured

ROOT = Path(harness.__file__).parent.parent
SITE = ROOT / "harness" / "drivers" / "site"
LOG_LINES, LOG_WIDTH, LOG_BYTES = 80, 2000, 1 << 20
"""How much of the end of a log is shown: lines, characters of each, and bytes that are read to find them."""
LONGEST = 20_000
"""Characters of a failure that a driver tells."""
SOCKET_PATH = 60
"""Characters of the longest TMPDIR of a driver: a socket's path has 107, and vLLM's sockets have names of 36 there."""
REQUESTS = 1 << 20
"""Bytes of requests that wait in the pipe of a driver that is busy."""


class Driver:
    """A driver process ``python -m module``; everything that it and its libraries print goes to ``log``.

    It is the leader of a session of its own, so that closing it, or the harness's own end, leaves no
    orphan: the driver ends when its channel closes, and what it started is killed with it. ``scratch`` is a folder for
    its temporary files, which is removed with it.
    """

    def __init__(
        self, module: str, python: str, log: Path, environment: Mapping[str, str] | None = None, scratch: Path | None = None
    ):
        self.stage = {"engine": "serving"}.get(name := module.rsplit(".", 1)[-1], name)
        self.log_path = log
        log.parent.mkdir(parents=True, exist_ok=True)
        request_read, request_write = os.pipe()
        fcntl.fcntl(request_write, fcntl.F_SETPIPE_SZ, REQUESTS)
        answer_read, answer_write = os.pipe()
        self._scratch = scratch
        temporary = {"TMPDIR": str(scratch)} if scratch and len(os.fsencode(scratch)) <= SOCKET_PATH else {}
        safe = safe_path.environment([str(SITE), str(ROOT)])
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **temporary, **(environment or {}), **safe}
        bound = str(int(threading.current_thread() is threading.main_thread()))  # another thread may end before its drivers
        with open(log, "ab", opener=not_following) as stream:
            self.process = subprocess.Popen(
                [python, "-m", "harness.drivers.supervise", str(os.getpid()), bound, module, str(request_read), str(answer_write)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=env,
                pass_fds=(request_read, answer_write),
                start_new_session=True,
            )
        os.close(request_read)
        os.close(answer_write)
        os.set_blocking(request_write, False)
        self._requests: int | None = request_write
        self._answers: int | None = answer_read
        self._buffer = b""
        self._count = 0
        self._asked: dict[int, str] = {}

    def ask(self, op: str, *, timeout: float, about: str = "", **request: object) -> dict:
        """Send one request and wait for its answer; raises as `send` and `receive` do."""
        return self.receive(self.send(op, timeout=timeout, about=about, **request), timeout=timeout)

    def send(self, op: str, *, timeout: float, about: str = "", **request: object) -> int:
        """Send one request, which the driver works off after those before it; its number, for `receive`. ``about`` is the
        case that it is for, which a failure names.

        Raises:
            DriverFailure: the driver is gone, or so many requests wait that there was no place for this one within
                ``timeout`` seconds (it is killed then).
        """
        self._count += 1
        self._asked[self._count] = f"asked for: {op}" + (f" of {about}" if about else "")
        line = memoryview((json.dumps({"id": self._count, "op": op, **request}) + "\n").encode())
        deadline = time.monotonic() + timeout
        if self._requests is None:
            raise self._gone()
        while line:
            _, ready, _ = select.select([], [self._requests], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.kill()
                raise self._failure(f"the {self.stage} driver took no request within {timeout:.0f} s and was killed; {self._asked[self._count]}")
            try:
                line = line[os.write(self._requests, line) :]
            except BrokenPipeError:
                raise self._gone() from None
        return self._count

    def receive(self, number: int, *, timeout: float) -> dict:
        """Wait for the answer to a request; those to requests before it that nobody waited for are passed over.

        Raises:
            UsageError: the driver found the input bad.
            DriverFailure: it answered with another error, died, or took more than ``timeout`` seconds
                (it is killed then).
        """
        deadline = time.monotonic() + timeout
        asked = self._asked.pop(number, "")
        while (answer := json.loads(self._line(deadline, timeout, asked)))["id"] != number:
            self._asked.pop(answer["id"], None)
        if not answer["ok"]:
            error = cut(answer["error"], LONGEST)
            if answer["kind"] == "usage":
                raise UsageError.said(error, "prompt")
            raise self._failure(error, answer["kind"])
        return answer

    def _line(self, deadline: float, timeout: float, asked: str) -> bytes:
        if self._answers is None:
            raise self._gone()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.kill()
                raise self._failure(f"the {self.stage} driver did not answer within {timeout:.0f} s and was killed; {asked}")
            read = os.read(self._answers, 1 << 16)
            if not read:
                raise self._failure(f"the {self.stage} driver died ({self._end()})")
            self._buffer += read
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """End the driver and everything that it started."""
        os.close(self._requests)
        self._requests = None
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pass
        self.kill()
        os.close(self._answers)
        self._answers = None
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def log(self) -> str:
        """The end of the log, without colours."""
        with self.log_path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - LOG_BYTES)
            file.seek(start)
            lines = uncoloured(file.read().decode("utf-8", errors="replace")).splitlines()
        return "\n".join(cut(line, LOG_WIDTH) for line in lines[-LOG_LINES:])

    def _gone(self) -> DriverFailure:
        return self._failure(f"the {self.stage} driver is gone ({self._end()})")

    def _end(self) -> str:
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "its channel is closed"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _failure(self, message: str, kind: str = "") -> DriverFailure:
        log = "" if kind == CheckpointError.__name__ else self.log()  # that message says all
        return DriverFailure(message, stage=self.stage, log=log, kind=kind)
