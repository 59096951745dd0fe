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
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from harness.drivers import killed, safe_path
from harness.drivers.messages import PROTOCOL, Failed, Request, Sent
from harness.drivers.running import Told, ignored
from harness.errors import DriverFailure, FailureKind, UsageError, kind_by_words
from harness.files import typed
from harness.files.atomic import not_following
from harness.text import cut, uncoloured

ROOT = Path(__file__).parents[2]
"""The folder that has the package `harness`."""
SITE = ROOT / "harness" / "drivers" / "site"
LOG_LINES, LOG_WIDTH, LOG_BYTES = 80, 2000, 1 << 20
"""How much of the end of a log is shown: lines, characters of each, and bytes that are read to find them."""
LONGEST = 20_000
"""Characters of a failure that a driver tells."""
SOCKET_PATH = 60
"""Characters of the longest TMPDIR of a driver: a socket's path has 107, and vLLM's sockets have names of 36 there."""
ELSEWHERE = ("root cause", "in a background process")
"""What vLLM says where the reason is in the log of a process of its own."""
REQUESTS = 1 << 20
"""Bytes of requests that wait in the pipe of a driver that is busy."""

A = TypeVar("A")


class Driver:
    """A driver process ``python -m module``; everything that it and its libraries print goes to ``log``. ``stage`` is the side
    that it runs, which its failures name.

    It is the leader of a session of its own, so that closing it, or the harness's own end, leaves no
    orphan: the driver ends when its channel closes, and what it started is killed with it. ``scratch`` is a folder for
    its temporary files, which is removed with it.
    """

    def __init__(
        self,
        module: str,
        stage: str,
        python: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.module = module
        self.stage = stage
        self.log_path = log
        log.parent.mkdir(parents=True, exist_ok=True)
        request_read, request_write = os.pipe()
        fcntl.fcntl(request_write, fcntl.F_SETPIPE_SZ, REQUESTS)
        answer_read, answer_write = os.pipe()
        self._scratch = scratch
        temporary = {"TMPDIR": str(scratch)} if scratch and len(os.fsencode(scratch)) <= SOCKET_PATH else {}
        safe = safe_path.environment([str(SITE), str(ROOT)])
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **temporary, **(environment or {}), **safe}
        bound = str(
            int(threading.current_thread() is threading.main_thread())
        )  # another thread may end before its drivers
        with open(log, "ab", opener=not_following) as stream:
            self.process = subprocess.Popen(
                [
                    python,
                    "-m",
                    "harness.drivers.supervise",
                    str(os.getpid()),
                    bound,
                    module,
                    str(request_read),
                    str(answer_write),
                ],
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
        self._greeted = False
        self._count = 0
        self._asked: dict[int, str] = {}
        self._killed = killed.for_memory()

    def ask(self, request: Request[A], *, timeout: float, about: str = "", told: Told = ignored) -> A:
        """Send one request and wait for its answer; raises as `send` and `receive` do."""
        return self.receive(self.send(request, timeout=timeout, about=about), timeout=timeout, told=told)

    def send(self, request: Request[A], *, timeout: float, about: str = "") -> Sent[A]:
        """Send one request, which the driver works off after those before it. ``about`` is the case that it is for, which a
        failure names.

        Raises:
            DriverFailure: the driver is gone, or so many requests wait that there was no place for this one within
                ``timeout`` seconds (it is killed then).
        """
        self._count += 1
        name = type(request).__name__
        self._asked[self._count] = f"asked for: {name}" + (f" of {about}" if about else "")
        line = memoryview(f"{typed.dumps({'id': self._count, 'request': name, 'fields': request})}\n".encode())
        deadline = time.monotonic() + timeout
        if self._requests is None:
            raise self._gone()
        while line:
            _, ready, _ = select.select([], [self._requests], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._late(f"took no request within {timeout:.0f} s", self._asked[self._count])
            try:
                line = line[os.write(self._requests, line) :]
            except BrokenPipeError:
                raise self._gone() from None
        return Sent(self._count, request)

    def receive(self, sent: Sent[A], *, timeout: float, told: Told = ignored) -> A:
        """Wait for the answer to a request; those to requests before it that nobody waited for are passed over. ``told`` hears
        how far the driver says that it is meanwhile.

        Raises:
            UsageError: the driver found the input bad.
            DriverFailure: it answered with another error, died, speaks another protocol, or took more than ``timeout``
                seconds (it is killed in the last two cases).
        """
        deadline = time.monotonic() + timeout
        asked = self._asked.pop(sent.number, "")
        if not self._greeted:
            self._check_protocol(self._line(deadline, timeout, asked))
        while (found := json.loads(self._line(deadline, timeout, asked))).get("id") != sent.number:
            if "progress" in found:
                told(cut(found["progress"], LOG_WIDTH))
            else:
                self._asked.pop(found["id"], None)
        if "failed" in found:
            failed = typed.read(Failed, found["failed"])
            message = cut(failed.message, LONGEST)
            if failed.kind is FailureKind.USAGE:
                raise UsageError.said(message, "prompt")
            raise self._failure(message, failed.kind)
        answer: Any = typed.read(sent.request.answer, found["answer"])
        return answer

    def _check_protocol(self, first: bytes) -> None:
        theirs = json.loads(first).get("protocol", "none")
        if theirs != PROTOCOL:
            self.kill()
            said = f"{self.module} speaks protocol {theirs} of drivers, this harness {PROTOCOL}"
            raise DriverFailure(said, stage=self.stage, kind=FailureKind.PROTOCOL)
        self._greeted = True

    def _line(self, deadline: float, timeout: float, asked: str) -> bytes:
        if self._answers is None:
            raise self._gone()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._late(f"did not answer within {timeout:.0f} s", asked)
            read = os.read(self._answers, 1 << 16)
            if not read:
                raise self._dead("died")
            self._buffer += read
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """End the driver and everything that it started."""
        if self._requests is not None:
            os.close(self._requests)
            self._requests = None
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        self.kill()
        if self._answers is not None:
            os.close(self._answers)
            self._answers = None
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def log(self) -> str:
        """The end of the log, without colours."""
        with self.log_path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - LOG_BYTES)
            file.seek(start)
            lines = uncoloured(file.read().decode("utf-8", errors="replace")).splitlines()
        return "\n".join(cut(line, LOG_WIDTH) for line in lines[-LOG_LINES:])

    def _gone(self) -> DriverFailure:
        return self._dead("is gone")

    def _dead(self, what: str) -> DriverFailure:
        end = self._end()
        if end == "signal SIGKILL" and killed.for_memory() > self._killed:
            why = "the kernel has killed a process meanwhile, because there was no memory left"
            return self._failure(f"the {self.stage} driver {what} ({end}; {why})", FailureKind.MEMORY)
        return self._failure(f"the {self.stage} driver {what} ({end})", FailureKind.GONE)

    def _late(self, what: str, asked: str) -> DriverFailure:
        self.kill()
        return self._failure(f"the {self.stage} driver {what} and was killed; {asked}", FailureKind.TIMEOUT)

    def _end(self) -> str:
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "its channel is closed"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _failure(self, message: str, kind: FailureKind) -> DriverFailure:
        log = "" if kind is FailureKind.CHECKPOINT else self.log()  # that message says all
        if kind is FailureKind.UNFORESEEN and any(words in message for words in ELSEWHERE):
            kind = kind_by_words(log)
        return DriverFailure(message, stage=self.stage, kind=kind, log=log)
