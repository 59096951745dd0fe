"""A real `vllm serve`, on a CPU or a GPU, started with the plugin or without."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from harness.drivers.process import ROOT
from tests.families.recorded import TEMPLATE

PATIENCE = 600.0


@dataclass(frozen=True)
class Served:
    """A server at ``url`` that serves ``checkpoint``, and the file of its token; its processes are those of a ``session``."""

    url: str
    checkpoint: Path
    token_file: Path
    session: int

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    def listening(self) -> set[int]:
        """The TCP ports that its processes listen at."""
        listen = "0A"
        ports = {socket: here for state, here, _, socket in _connections() if state == listen}
        return {ports[link] for _, link in self._open_files() if link in ports}

    def answering(self, answer: httpx.Response) -> set[int]:
        """The process that an answer came from, while its connection is open."""
        client = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        sockets = {socket for _, _, there, socket in _connections() if there == client}
        return {process for process, link in self._open_files() if link in sockets}

    def _open_files(self) -> Iterator[tuple[int, str]]:
        """Its processes, each with what it has open."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if int((process / "stat").read_text().rpartition(")")[2].split()[3]) == self.session:
                    yield from ((int(process.name), os.readlink(file)) for file in (process / "fd").iterdir())
            except OSError:
                continue

    def client(self) -> httpx.Client:
        """A client with a connection of its own, which has the token."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=120)

    def complete(self, prompt: list[int], **more: object) -> dict:
        body = {"model": str(self.checkpoint), "prompt": prompt, "max_tokens": 1, "temperature": 0.0, **more}
        answer = httpx.post(f"{self.url}/v1/completions", json=body, timeout=120)
        answer.raise_for_status()
        return answer.json()


@dataclass(frozen=True)
class How:
    """How a server is started: with ``more`` options, and what is in its environment. On a ``gpu`` it takes a fifth of the memory,
    so that several fit, and ``backend`` is vLLM's name of a back end. Where it is ``joined`` the engine's process has the worker in
    it, as on a GPU; on a CPU vLLM does that only if it is told that nothing has a process of its own."""

    backend: str = "triton"
    runner: str = "v1"
    plugins: str = "harness"
    switched_on: bool = True
    eager: bool = True
    gpu: bool = False
    more: tuple[str, ...] = ()
    joined: bool = False

    def environment(self) -> dict[str, str]:
        """What is in its environment for where it runs."""
        if self.gpu:
            return {}
        return {
            "VLLM_WORKER_MULTIPROC_METHOD": "fork",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": str(int(not self.joined)),
            "HARNESS_CPU_BACKEND": self.backend,
            **({"TRITON_INTERPRET": "1"} if self.backend == "triton" else {}),
        }

    def options(self) -> tuple[str, ...]:
        """Its options for where it runs, and ``more``."""
        where = (
            ("--attention-backend", self.backend, "--gpu-memory-utilization", "0.2")
            if self.gpu
            else ("--enable-scale-out", "--block-size", "32", "--num-gpu-blocks-override", "256")
        )
        return *where, *("--enforce-eager",) * self.eager, *self.more


def _connections() -> Iterator[tuple[str, int, int, str]]:
    """Of the machine's TCP connections the state, the port here, the port there, and the socket as open files name it."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, here, there, state, *more = line.split()
            yield state, *(int(end.rpartition(":")[2], 16) for end in (here, there)), f"socket:[{more[5]}]"


@contextmanager
def serving(checkpoint: str, folder: Path, how: How = How()) -> Iterator[Served]:
    """A server that is ready, and ends with this, or with the process that started it."""
    there = folder / "checkpoint"
    shutil.copytree(checkpoint, there)
    (there / "chat_template.jinja").write_text(TEMPLATE)
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_USE_V2_MODEL_RUNNER": str(int(how.runner == "v2")),
        "VLLM_PLUGINS": how.plugins,
        "HARNESS_ATTACH": str(token) if how.switched_on else "",
        **how.environment(),
    }
    command = [
        sys.executable, "-m", "harness.drivers.supervise", str(os.getpid()), "1", "tests.engines.vllm.attach.start",
        "serve", str(there), "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--skip-mm-profiling", "--load-format", "safetensors",
        "--max-num-seqs", "8", "--disable-uvicorn-access-log", *how.options(),
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, cwd=ROOT, start_new_session=True
        )
    served = Served(f"http://127.0.0.1:{port}", there, token, process.pid)
    try:
        _wait(process, served.url, log)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise RuntimeError(f"the server is not there: {log.read_text()[-3000:]}")
