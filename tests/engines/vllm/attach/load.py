"""How much slower a server is for others: ``python -m tests.engines.vllm.attach.load CHECKPOINT`` prints a line for each state.
On a GPU: ``python -m tests.engines.vllm.attach.load CHECKPOINT TRITON_ATTN OPTION...``, with the back end and the server's options.

Two servers stand side by side, one with the plugin switched off and one with it switched on. Requests of text are sent to them in
small batches, the states of a round in an order that is drawn. A state's percentage is the median over the rounds of what its batch
took against the batch of the same round with the plugin switched off, with the interval that has the true median at 95 %
(of resampled rounds). The server that is switched off is measured twice a round: what it seems to cost over itself is the noise.
The engine's process has the worker in it, as vLLM has it on one GPU: workers of their own spin where they wait, and what a server
does for the next second then tells more of the state before.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import httpx

from harness.engines.vllm.attach import protocol
from tests.engines.vllm.attach.served import How, Served, serving

OTHERS, AT_A_TIME = 8, 4
"""Requests of a batch beside the one that may be observed, and how many of all are under way."""
TOKENS, ANSWER = 60, 24
ROUNDS, RESAMPLED = 40, 2000
SWITCHED_OFF = "switched off"
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
        batch goes before it, as in a server that has something to do."""
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
    """Tokens that no other number has, so that nothing of them is in the prefix cache."""
    return [2, number % 200 + 20, number // 200 + 20, *((number * 7 + place) % 200 + 20 for place in range(TOKENS - 2))]


def in_turn(off: Callable[[], Cost], states: Mapping[str, Callable[[], Cost]]) -> None:
    """Print by how much each of the states costs more than ``off``."""
    drawn = random.Random(0)
    measured = {SWITCHED_OFF: off, "switched off, again": off, **states}
    costs: dict[str, list[Cost]] = {state: [] for state in measured}
    for _ in range(ROUNDS):
        for state in drawn.sample(list(measured), len(measured)):
            costs[state].append(measured[state]())
    names = [field.name for field in fields(Cost)]
    here = costs.pop(SWITCHED_OFF)
    middle = [statistics.median(column) for column in zip(*map(astuple, here), strict=True)]
    print(f"{SWITCHED_OFF}:", ", ".join(f"{name} {one:.3f} s" for name, one in zip(names, middle, strict=True)))
    for state, there in costs.items():
        ratios = [
            [b / a for a, b in zip(astuple(one), astuple(two), strict=True)]
            for one, two in zip(here, there, strict=True)
        ]
        columns = zip(names, zip(*ratios, strict=True), strict=True)
        print(f"{state}:", ", ".join(f"{name} {_more(column, drawn)}" for name, column in columns), flush=True)


def _more(ratios: Sequence[float], drawn: random.Random) -> str:
    """The median of ``ratios`` and its interval, in percent more than 1."""
    medians = sorted(statistics.median(drawn.choices(ratios, k=len(ratios))) for _ in range(RESAMPLED))
    low, high = medians[RESAMPLED // 40], medians[-RESAMPLED // 40]
    middle, low, high = (100 * (ratio - 1) for ratio in (statistics.median(ratios), low, high))
    return f"{middle:+.1f} % ({low:+.1f} to {high:+.1f})"


def main(checkpoint: str, backend: str = "", *more: str) -> None:
    how = How(backend, gpu=True, eager=False, more=more) if backend else How("cpu", joined=True)
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
