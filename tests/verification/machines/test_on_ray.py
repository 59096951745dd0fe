"""Cells on a real Ray cluster of two nodes, one of which is killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -e .[cluster]")

from harness.campaigns.nightly import RAN, ended
from harness.drivers.process import ROOT
from harness.errors import EnvironmentFailure
from harness.files import jsonl
from harness.verification.machines import Cell, Found, Needs, Over, on_ray
from harness.verification.machines.cluster import connected
from harness.verification.machines.on_ray import OnRay
from tests.cli.few_properties import EACH
from tests.drivers.processes import interruptible, lives, within
from tests.verification import labour
from tests.verification.machines.two_nodes import SECONDS, TwoNodes, said_by, two_nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BEGUN, ENDED = 300, 300
"""Seconds for what is only waited for: commands that begin to answer, and that end. A loaded machine takes most of a minute."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as found:
        yield found


@pytest.fixture
def machines(cluster: TwoNodes) -> Iterator[OnRay]:
    with connected(cluster.address):
        yield OnRay(None, sys.executable)


def overs(told: list) -> dict[str, Exception | None]:
    found = [one for one in told if isinstance(one, Over)]
    assert len(found) == len({one.cell.name for one in found})
    return {one.cell.name: one.failure for one in found}


def test_both_nodes_work_and_say_so(machines: OnRay) -> None:
    cells = [Cell(f"{engine}{turn}", labour.busy, (2.0,), engine) for turn in range(3) for engine in "ab"]
    told = list(machines.run(cells, nullcontext))
    assert overs(told) == dict.fromkeys(cell.name for cell in cells)
    found = [one for one in told if isinstance(one, Found)]
    assert sorted({one.where.partition(" ")[0] for one in found}) == ["one", "two"]
    for pid in {one.item for one in found}:
        engines = [one.cell.engine for one in found if one.item == pid]
        assert len([*groupby(engines)]) == len(set(engines))


def test_a_process_that_dies_costs_its_cell_alone(machines: OnRay) -> None:
    cells = [Cell("dies", labour.die, (signal.SIGKILL,)), Cell("fails", labour.fail, ())]
    told = list(machines.run([*cells, *[Cell(f"{n}", labour.counted, (3,)) for n in range(4)]], nullcontext))
    failures = overs(told)
    assert "the worker process died" in str(failures.pop("dies")) and "it died" in str(failures.pop("fails"))
    assert set(failures.values()) == {None}
    assert [one.item for one in told if one.cell.name == "dies" and isinstance(one, Found)] == ["begun"]


def test_what_no_node_has_is_said_before_anything_starts(machines: OnRay) -> None:
    with pytest.raises(EnvironmentFailure, match=r"no node of the cluster has what a cell needs, 1 CPU, 1 H100: "):
        list(machines.run([Cell("a", labour.pid, (), needs=Needs(gpus=1, gpu="H100"))], nullcontext))


def test_what_cannot_be_entered_is_told_of_each_cell(machines: OnRay) -> None:
    failures = overs(list(machines.run([Cell(str(n), labour.pid, ()) for n in range(3)], labour.refused)))
    assert [str(failure) for failure in failures.values()] == ["no vllm here"] * 3


def test_another_harness_on_a_node_is_refused(machines: OnRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "source", lambda: "another")
    with pytest.raises(EnvironmentFailure, match="has another harness than this command"):
        list(machines.run([Cell("a", labour.pid, ())], nullcontext))


def test_a_folder_is_had_wherever_a_cell_runs(machines: OnRay, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("what is in it")
    packed = machines.packed(tmp_path)
    found = [
        one.item
        for one in machines.run([Cell(str(n), labour.read, (packed, "deep/file"), n) for n in range(2)], nullcontext)
        if isinstance(one, Found)
    ]
    assert [text for text, _ in found] == ["what is in it"] * 2
    assert not any(Path(folder).is_relative_to(tmp_path) or Path(folder).exists() for _, folder in found)


def test_an_early_end_leaves_nothing_behind(cluster: TwoNodes, machines: OnRay) -> None:
    with closing(machines.run([Cell(str(n), labour.stay, ()) for n in range(4)], nullcontext)) as told:
        pids = [next(told).item for _ in range(2)]
        assert all(map(lives, pids))
    assert within(15, lambda: not any(map(lives, pids)) and not cluster.at_work())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_no_driver_on_any_node(cluster: TwoNodes, tmp_path: Path, how: int) -> None:
    command = driven(cluster, tmp_path, "soak", "--layouts", "400")
    assert within(BEGUN, lambda: len(jsonl.read(tmp_path / "layouts.jsonl")) > 6)
    assert len(cluster.at_work()) >= 4
    command.send_signal(how)
    command.wait(ENDED)
    assert command.returncode == (-9 if how == signal.SIGKILL else 128 + how)
    assert within(30, lambda: not cluster.at_work())
    assert (tmp_path / "summary.json").is_file() == (how != signal.SIGKILL)


def test_a_node_that_is_killed_costs_its_running_cells_which_run_again(cluster: TwoNodes, tmp_path: Path) -> None:
    """One node is gone after it."""
    command = driven(cluster, tmp_path, "soak", "--layouts", "400")
    path = tmp_path / "layouts.jsonl"

    def on(name: str) -> list[dict]:
        return [line for line in jsonl.read(path) if line.get("node", "").startswith(name)]

    def amid() -> bool:
        """Both work, and node two has at least half of its block before it, which takes seconds."""
        return len(on("one")) > 3 and len(on("two")) > 3 and on("two")[-1]["index"] < 50

    assert within(BEGUN, amid)
    before = len(on("two"))
    assert len(cluster.at_work("two")) >= 2
    cluster.kill("two")
    assert within(30, lambda: not cluster.at_work("two"))
    assert within(ENDED, lambda: command.poll() is not None)
    answers = {(line["setting"], line["block"], line["index"]): line for line in jsonl.read(path) if "index" in line}
    assert command.returncode == 0 and len(answers) == 400
    assert len(on("two")) >= before
    (lost,) = json.loads((tmp_path / "summary.json").read_text())["lost with a node, run again"]
    assert lost["node"].startswith("two (") and lost["cell"] in (tmp_path / "stderr").read_text()


def test_a_night_runs_on_the_nodes_and_says_where(cluster: TwoNodes, tmp_path: Path) -> None:
    """All three parts on two nodes; one is killed while it runs a property, which then runs again on the other."""
    cluster.remove("two")
    cluster.add("three")
    command = driven(cluster, tmp_path, "nightly", "--profile", "dev")
    path = tmp_path / "properties"

    def on(name: str) -> int:
        """How many of the results of a property that have come are of a node."""
        came = [line["result"] for line in jsonl.read(path / "results.jsonl") if "result" in line]
        return sum(one["extra"]["node"].startswith(name) for one in came)

    assert within(BEGUN, lambda: 0 < on("three") < EACH / 2)
    cluster.kill("three")
    assert within(ENDED, lambda: command.poll() is not None)
    assert command.returncode == 3 and within(30, lambda: not cluster.at_work())
    summary = (tmp_path / "summary.md").read_text()
    assert re.search(r"^- `tests.cli.few_properties::test_(one|other).*`, with three \(", summary, re.MULTILINE), (
        summary
    )
    parts = {suite.get("name"): suite for suite in ET.parse(tmp_path / "junit.xml").getroot()}
    ran = {
        name: Counter(one.get("value").split()[0] for one in suite.iter("property") if one.get("name") == RAN)
        for name, suite in parts.items()
    }
    assert {name: sum(nodes.values()) for name, nodes in ran.items()} == {
        name: int(suite.get("tests")) for name, suite in parts.items()
    }
    assert ran["properties"].keys() == {"one", "three"} and ran["catalogue"].keys() == ran["mutants"].keys() == {"one"}
    states = {check.name.partition("::")[2]: check.state for check in ended("properties", path, 3, 1.0).checks}
    odd = {"test_does_not_hold": "DIVERGED", "test_dies": "ERROR", "test_gets_no_answer": "ERROR"}
    assert {name: states.pop(name) for name in odd} == odd
    assert len(states) == 2 * EACH and set(states.values()) == {"PASS"}
    kept = [one["case"] for one in json.loads((path / "results.json").read_text())["results"]]
    assert sorted(kept) == sorted(f"{name} {number}" for name in ("one", "other") for number in range(EACH))


def test_a_head_that_is_lost_ends_the_command_in_order(cluster: TwoNodes, tmp_path: Path) -> None:
    """Last: the cluster is gone after it. Left to itself, Ray ends the command a minute later, with exit code 1."""
    command = driven(cluster, tmp_path, "soak", "--layouts", "4000")
    assert within(BEGUN, lambda: len(jsonl.read(tmp_path / "layouts.jsonl")) > 6)
    cluster.cluster.head_node.kill_gcs_server(check_alive=False)
    command.wait(timeout=45)
    assert command.returncode == 3
    said = (tmp_path / "stderr").read_text().splitlines()
    assert "the cluster's head at" in said[-1] and (tmp_path / "summary.json").is_file()
    assert within(30, lambda: not any("drivers" in said_by(pid) for pid in cluster.at_work()))


def driven(cluster: TwoNodes, out: Path, *words: str) -> subprocess.Popen:
    """A command whose engines are drivers that start in a moment, on the cluster."""
    place = ["--ray", cluster.address, "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cli.driven", SECONDS, *words, *place],
        stdout=subprocess.DEVNULL, stderr=(out / "stderr").open("w"), cwd=ROOT, preexec_fn=interruptible,
    )  # fmt: skip
