"""What a worker takes of a node, as it is written on the command line, and how many of them a node has room for."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.verification.machines import Needs
from harness.verification.machines.cell import GIB
from harness.verification.machines.cluster import Node


@pytest.mark.parametrize(
    ("text", "gpus", "needs"),
    [
        ("cpus=4", 0, Needs(4)),
        ("cpus=4", 2, Needs(4, 2)),
        ("gpus=0.25 cpus=0.5", 1, Needs(0.5, 0.25)),
        ("gpu=H100", 0, Needs(1, 1, "H100")),
        ("gpu=H100", 2, Needs(1, 2, "H100")),
        ("memory=32 gpus=0", 1, Needs(1, 0, "", 32 * GIB)),
    ],
)
def test_needs_are_read(text: str, gpus: int, needs: Needs) -> None:
    assert Needs.parse(text, gpus) == needs


@pytest.mark.parametrize(
    "text",
    ["4", "cpus", "cpus=", "cpus=-1", "cpus=1e3", "cpus=nan", "cpus=1 cpus=2", "gpus=1.5", "gpu=", "gpu=H100 gpus=0", "disk=1",
     "cpus=9999999", "gpu=a,b", "cpus=1 4"],
)  # fmt: skip
def test_what_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"needs: .* is not allowed; words such as"):
        Needs.parse(text)


NODE = Node("1", "a (10.0.0.1)", True, {"CPU": 16.0, "GPU": 4.0, "memory": 64.0 * GIB, "accelerator_type:H100": 1.0})


@pytest.mark.parametrize(
    ("needs", "room"),
    [
        (Needs(), 16),
        (Needs(gpus=1), 4),
        (Needs(gpus=1, gpu="H100"), 4),
        (Needs(gpus=1, gpu="L4"), 0),
        (Needs(gpus=0.25, cpus=2), 8),
        (Needs(gpus=0.1, cpus=0), 40),
        (Needs(memory=24 * GIB), 2),
        (Needs(17), 0),
    ],
)
def test_a_node_has_room_for_whole_workers(needs: Needs, room: int) -> None:
    assert NODE.room(needs) == room


def test_a_node_that_is_gone_has_no_room() -> None:
    assert Node("1", "a", False, NODE.resources).room(Needs()) == 0
