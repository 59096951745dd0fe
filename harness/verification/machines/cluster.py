"""The Ray cluster that a command is connected to: its nodes, what they have, and how they are named."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from harness.errors import EnvironmentFailure
from harness.text import one_line
from harness.verification.machines.cell import Needs
from harness.verification.workplace import Workplace

LOCAL = "local"
REACHING = 10.0
"""Seconds that the cluster's head has to take a connection."""
BEAT = 1.0
"""Seconds between two looks at the nodes."""
NEW = 10.0
"""Seconds within which a node that an actor is on is listed."""
_KIND = "accelerator_type:"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Node:
    """A node of the cluster: Ray's id of it, its name and address for people, and what it has in all."""

    id: str
    where: str
    alive: bool
    resources: dict[str, float]

    def room(self, needs: Needs) -> int:
        """How many workers fit on it when nothing else runs there."""
        kind = {f"{_KIND}{needs.gpu}": 0.001} if needs.gpu else {}
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory} | kind
        there = [int(self.resources.get(name, 0) / amount + 1e-9) for name, amount in wanted.items() if amount]
        return min(there, default=os.cpu_count() or 1) if self.alive else 0


def nodes() -> dict[str, Node]:
    """Every node that the cluster has or had, by Ray's id."""
    import ray

    found = ray.nodes()
    at = Counter(one["NodeManagerAddress"] for one in found)
    return {one["NodeID"]: _node(one, alone=at[one["NodeManagerAddress"]] == 1) for one in found}


def _node(found: dict[str, Any], *, alone: bool) -> Node:
    address = found["NodeManagerAddress"] if alone else f"{found['NodeManagerAddress']}:{found['NodeManagerPort']}"
    name = found.get("NodeName") or found["NodeManagerAddress"]
    name = found["NodeManagerHostname"] if name == found["NodeManagerAddress"] else name
    kinds = sorted(one.removeprefix(_KIND) for one in found["Resources"] if one.startswith(_KIND))
    return Node(found["NodeID"], f"{name} ({', '.join([address, *kinds])})", found["Alive"], found["Resources"])


class Watch:
    """Looks at the nodes of the cluster every `BEAT` seconds, in a thread of its own, and in another whether its head still
    listens; calls ``lost`` when it does not.

    A minute after that Ray ends this process, with exit code 1 and nothing written, and whatever asks the head hangs until then.
    As a context manager: it looks no more.
    """

    def __init__(self, lost: Callable[[], None]):
        import ray

        self.head = ray.get_runtime_context().gcs_address
        self.nodes = nodes()
        self.gone = False
        self._lost = lost
        self._ended = threading.Event()
        for look in (self._look, self._listen):
            threading.Thread(target=look, name=f"nodes {look.__name__}", daemon=True).start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()

    def node(self, id: str) -> Node:
        """The node of this id, which may be so new that it was not seen yet."""
        end = time.monotonic() + NEW
        while id not in self.nodes and time.monotonic() < end:
            time.sleep(0.1)
        return self.nodes.get(id) or Node(id, f"node {id}", True, {})

    def _look(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(Exception):  # whatever Ray raises of a head that does not answer
                self.nodes = nodes()

    def _listen(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                _reach(self.head)
            except OSError:
                self.gone = True
                self._lost()
                return


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to the cluster at ``address``, or to one that is started on this machine alone and ends with the body.

    Raises:
        EnvironmentFailure: Ray is not installed here, or nothing answers there.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    place = Workplace() if address == LOCAL else None
    if place:
        os.environ["RAY_TMPDIR"] = str(place.path)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _begin(address)
        yield
    finally:
        ray.shutdown()
        if place:
            place.close()


def _begin(address: str) -> None:
    import ray

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    where: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    asked = 0
    try:
        _reach(address)
        ray.init(address=address, **where, **quiet)
    except SystemExit as end:  # Ray's own handler of SIGTERM, while it starts
        asked = signal.SIGTERM if end.code == signal.SIGTERM else 0
        if not asked:
            raise
    except (ConnectionError, RuntimeError, ValueError, OverflowError, OSError) as error:
        raise EnvironmentFailure(f"--ray {address}: no Ray cluster can be used there: {one_line(error)}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        signal.raise_signal(asked)


def _reach(address: str) -> None:
    """Raise OSError where nothing listens: Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon:
        with socket.create_connection((host.strip("[]"), int(port)), REACHING):
            pass
