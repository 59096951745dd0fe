"""How much slower a server is for others: ``python -m tests.engines.vllm.attach.load CHECKPOINT`` prints a line for each state.

Requests of text are sent in small batches, each batch in a state of the server, in turn; what counts is the processor time of the
server's processes, which other work on the machine does not change.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from harness.engines.vllm.attach import protocol
from tests.engines.vllm.attach.served import How, Served, serving

OTHERS = 8
"""Requests of a batch, four at a time."""
TOKENS, ANSWER = 60, 24
OBSERVED = "harness-load-0123456789"
TICKS = os.sysconf("SC_CLK_TCK")


def processors(session: int) -> float:
    """Seconds that processors worked for the processes of a session."""
    worked = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            worked += int(fields[11]) + int(fields[12])
    return worked / TICKS


class Load:
    """Batches of requests to a server whose processes are of one session."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.sent = 0
        headers = {"Authorization": f"Bearer {served.token}"}
        self.client = httpx.Client(base_url=served.url, headers=headers, timeout=120)

    def batch(self, more: int = 0) -> float:
        """Seconds for a batch of others' requests, and ``more`` that are observed."""
        before = processors(self.served.session)
        with ThreadPoolExecutor(4) as threads:
            others = [threads.submit(self._one, None) for _ in range(OTHERS)]
            observed = [threads.submit(self._one, OBSERVED) for _ in range(more)]
            for each in (*others, *observed):
                each.result()
        return processors(self.served.session) - before

    def observed(self, more: int) -> float:
        """As `batch`, while an observation is under way."""
        names = {"requests": [f"cmpl-{OBSERVED}-0"]}
        ticket = self.client.post(protocol.BEGIN, json=names).json()["ticket"]
        try:
            return self.batch(more)
        finally:
            if more:
                self.client.post(protocol.COLLECT, json={"ticket": ticket})
            self.client.post(protocol.END, json={"ticket": ticket})

    def _one(self, name: str | None) -> None:
        self.sent += 1
        prompt = [2, *((self.sent * 7 + place) % 200 + 20 for place in range(TOKENS))]
        named = {"request_id": name} if name else {}
        self.served.complete(prompt, max_tokens=ANSWER, ignore_eos=True, **named)


def median(times: int, work: Callable[[], float]) -> float:
    return statistics.median(work() for _ in range(times))


def main(checkpoint: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain"
        plain.mkdir()
        with serving(checkpoint, plain, How("cpu", plugins="", switched_on=False)) as served:
            load = Load(served)
            median(3, load.batch)
            without = median(12, load.batch)
        with serving(checkpoint, Path(folder), How("cpu")) as served:
            load = Load(served)
            median(3, load.batch)
            before = median(12, load.batch)
            load.observed(1)
            found: dict[str, list[float]] = {"after": [], "under way": [], "one of nine observed": []}
            for _ in range(12):
                found["after"].append(load.batch())
                found["under way"].append(load.observed(0))
                found["one of nine observed"].append(load.observed(1))
    print(f"without the plugin: {without:.3f} s for {OTHERS} requests")
    for state, seconds in {"before the first observation": [before], **found}.items():
        middle = statistics.median(seconds)
        print(f"{state}: {middle:.3f} s, {100 * (middle / without - 1):+.1f} %")


if __name__ == "__main__":
    main(sys.argv[1])
