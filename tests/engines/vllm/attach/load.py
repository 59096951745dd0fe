"""How much slower a server is for others: ``python -m tests.engines.vllm.attach.load CHECKPOINT`` prints a line for each state.
On a GPU: ``python -m tests.engines.vllm.attach.load CHECKPOINT TRITON_ATTN OPTION...``, with the back end and the server's options.

Two servers stand side by side, one with the plugin switched off and one with it switched on. Requests of text are sent to them in
small batches, in turn, so that what else the machine has to do meets both, and the least that a batch took in some round is
compared. What the processors worked is for all processes of a server, some of which spin where they wait for each other.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import httpx

from harness.engines.vllm.attach import protocol
from tests.engines.vllm.attach.served import How, Served, serving

OTHERS, AT_A_TIME = 8, 4
"""Requests of a batch beside the one that may be observed, and how many of all are under way."""
TOKENS, ANSWER = 60, 24
ROUNDS = 12
OBSERVED, ABSENT = "harness-load-0123456789", "harness-load-abcdefghij"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Seconds of a batch: what ``processors`` worked for the server, what the batch took, whose inverse is the throughput, and
    the median ``latency`` of a request that nobody observed."""

    processors: float
    batch: float
    latency: float


def processors(session: int) -> float:
    """Seconds that processors worked for the processes of a session."""
    worked = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(found[3]) == session:
            worked += int(found[11]) + int(found[12])
    return worked / TICKS


class Load:
    """Batches of requests to a server whose processes are of one session."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.sent = 0
        headers = {"Authorization": f"Bearer {served.token}"}
        self.client = httpx.Client(base_url=served.url, headers=headers, timeout=120)

    def batch(self) -> Cost:
        """What a batch takes: requests of others, and one that is called `OBSERVED`, whether anybody observes it or not. Another
        batch goes before it: vLLM's processes spin for some seconds after a request, and answer the next one sooner."""
        self._served(None)
        return self._served(OBSERVED)

    def _served(self, name: str | None) -> Cost:
        before, start = processors(self.served.session), time.perf_counter()
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            one = threads.submit(self._one, name)
            others = [threads.submit(self._one, None) for _ in range(OTHERS)]
            latencies = [each.result() for each in others]
            one.result()
        took = time.perf_counter() - start
        return Cost(processors(self.served.session) - before, took, statistics.median(latencies))

    def under_way(self, name: str) -> Cost:
        """As `batch`, while an observation of the request ``name`` is under way."""
        begun = self.client.post(protocol.BEGIN, json={"requests": [f"cmpl-{name}-0"]})
        assert begun.is_success, begun.text
        ticket = begun.json()["ticket"]
        try:
            cost = self.batch()
            ((rank,),) = self.client.post(protocol.COLLECT, json={"ticket": ticket}).json()
            assert bool(rank["prompts"]) == (name == OBSERVED) and not rank["failure"], rank
            return cost
        finally:
            self.client.post(protocol.END, json={"ticket": ticket})

    def scores(self) -> list[dict]:
        """Log-probabilities that requests, one after another, are answered with."""
        asked = {"prompt_logprobs": 5, "logprobs": 5, "max_tokens": ANSWER, "ignore_eos": True}
        return [self.served.complete(_prompt(number), **asked)["choices"][0] for number in range(OTHERS)]

    def _one(self, name: str | None) -> float:
        self.sent += 1
        named = {"request_id": name} if name else {}
        start = time.perf_counter()
        self.served.complete(_prompt(self.sent), max_tokens=ANSWER, ignore_eos=True, **named)
        return time.perf_counter() - start


def _prompt(number: int) -> list[int]:
    return [2, *((number * 7 + place) % 200 + 20 for place in range(TOKENS))]


def in_turn(off: Callable[[], Cost], states: Mapping[str, Callable[[], Cost]]) -> None:
    """Print by how much each of the states costs more than ``off``, at least: what disturbs a batch adds to it."""
    rounds = [(off(), {name: cost() for name, cost in states.items()}) for _ in range(ROUNDS)]
    names = [field.name for field in fields(Cost)]
    here = _least([cost for cost, _ in rounds])
    print("switched off:", ", ".join(f"{name} {one:.3f} s" for name, one in zip(names, here, strict=True)), flush=True)
    for state in states:
        there = _least([costs[state] for _, costs in rounds])
        more = [100 * (one / least - 1) for one, least in zip(there, here, strict=True)]
        print(f"{state}:", ", ".join(f"{name} {percent:+.1f} %" for name, percent in zip(names, more, strict=True)))


def _least(costs: list[Cost]) -> list[float]:
    return [min(column) for column in zip(*map(astuple, costs), strict=True)]


def main(checkpoint: str, backend: str = "", *more: str) -> None:
    how = How(backend, gpu=True, eager=False, more=more) if backend else How("cpu")
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("off", "on")]
        for place in places:
            place.mkdir()
        with (
            serving(checkpoint, places[0], replace(how, switched_on=False)) as off,
            serving(checkpoint, places[1], how) as on,
        ):
            without, with_it = Load(off), Load(on)
            for load in (without, with_it) * 3:
                load.batch()
            in_turn(without.batch, {"switched on, before the first observation": with_it.batch})
            with_it.under_way(OBSERVED)
            in_turn(
                without.batch,
                {
                    "no observation under way": with_it.batch,
                    "an observation under way, nobody observed": lambda: with_it.under_way(ABSENT),
                    f"one of {OTHERS + 1} observed": lambda: with_it.under_way(OBSERVED),
                },
            )
            print("log-probabilities equal to the bit:", without.scores() == with_it.scores())


if __name__ == "__main__":
    main(*sys.argv[1:])
