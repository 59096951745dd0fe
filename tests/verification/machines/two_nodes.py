"""A Ray cluster of two nodes on this machine, each with one CPU: two raylets, and a head that has none."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tests.drivers.processes import lives, marked

MARK, NODE = "TWO_NODES_OF_A_TEST", "NODE_OF_A_TEST"
SECONDS = "0.05"
"""That each answer of `tests.cli.driven` takes, for workers that inherit it from their node."""
MEMORY = 80 << 20
"""Bytes of a node's object store, near the least that Ray takes."""


@dataclass
class TwoNodes:
    """The cluster; ``mark`` is in the environment of every process of its nodes."""

    cluster: Cluster
    mark: str
    nodes: dict = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.cluster.address

    def add(self, name: str) -> None:
        os.environ[NODE] = f"{name} {self.mark}"
        self.nodes[name] = self.cluster.add_node(
            num_cpus=1, node_name=name, object_store_memory=MEMORY, include_dashboard=False
        )

    def remove(self, name: str) -> None:
        """Have a node leave in order, unless it is gone."""
        node = self.nodes.pop(name)
        with suppress(AssertionError):  # its raylet was killed
            self.cluster.remove_node(node)

    def kill(self, name: str) -> None:
        """Kill the raylet of a node, without a word. It stays a zombie, as in a container whose first process asks for no exit
        codes, so that Ray's own workers do not see that it is gone."""
        os.kill(self.nodes[name].all_processes["raylet"][0].process.pid, signal.SIGKILL)

    def at_work(self, name: str = "") -> list[int]:
        """Actors, and drivers that they have started: of all nodes, or of the one of this ``name``."""
        there = marked(NODE, f"{name} {self.mark}") if name else marked(MARK, self.mark)
        return [pid for pid in there if any(word in said_by(pid) for word in ("ray::Actor", "drivers"))]


def said_by(pid: int) -> str:
    """The command line of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    os.environ["DRIVEN_SECONDS"] = SECONDS
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, object_store_memory=MEMORY, include_dashboard=False)
        found = TwoNodes(cluster, mark)
        for name in ("one", "two"):
            found.add(name)
        yield found
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.pop(MARK)
        os.environ.pop(NODE)
        for pid in marked(MARK, mark):
            if lives(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
