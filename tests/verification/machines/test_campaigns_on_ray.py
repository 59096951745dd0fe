"""Campaigns with real engines on a real Ray cluster of two nodes, one of which is killed in the middle of a matrix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -e .[cluster]")

from harness.campaigns import mutation_matrix
from harness.campaigns.nightly import properties
from harness.drivers.process import ROOT
from harness.files import jsonl
from tests.drivers.processes import within
from tests.verification.machines.two_nodes import TwoNodes, two_nodes

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(1200)]
THIS = sys.executable
LAYOUTS = ("t3 i5", "t3 i12 t2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    with two_nodes() as found:
        yield found


def harness(cluster: TwoNodes, out: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [THIS, "-m", "harness", *words, "--ray", cluster.address, "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=(out.parent / f"{out.name}.err").open("w"), cwd=ROOT,
    )  # fmt: skip


def test_a_soak_says_which_node_answered(cluster: TwoNodes, tmp_path: Path) -> None:
    assert harness(cluster, tmp_path / "soak", "soak", "--layouts", "12").wait() == 0
    found = json.loads((tmp_path / "soak" / "summary.json").read_text())
    assert found["layouts"] == 12 and sum(found["by node"].values()) == 12
    assert found["failures"] == found["no answer"] == found["lost with a node, run again"] == []


def test_mutants_are_caught_wherever_they_are_planted(cluster: TwoNodes, tmp_path: Path) -> None:
    names = ("window-plus-one", "images-merged")
    only = [word for name in names for word in ("--only", name)]
    assert harness(cluster, tmp_path / "mutants", "mutants", "--examples", "20", *only).wait() == 0
    outcomes = mutation_matrix.read((tmp_path / "mutants" / mutation_matrix.FILE).read_text())
    assert {one["mutant"]: bool(one["caught_by"]) for one in outcomes} == dict.fromkeys(names, True)
    assert {one["node"].partition(" ")[0] for one in outcomes} <= {"one", "two"}


def test_a_case_and_a_property_say_which_node_answered(cluster: TwoNodes, tmp_path: Path) -> None:
    only = ["--only", "short-image", "--backend", "triton"]
    assert harness(cluster, tmp_path / "report", "report", *only).wait() == 0
    results = json.loads((tmp_path / "report" / "results.json").read_text())["results"]
    assert results and all(one["extra"]["node"].partition(" ")[0] in ("one", "two") for one in results)
    words = ["cases/test_metamorphic.py", "-k", "order_of_batch_mates", "--harness-profile", "dev", "--harness-ray"]
    junit = tmp_path / "tests.xml"
    done = subprocess.run([THIS, "-m", "pytest", *words, cluster.address, "--junitxml", junit], cwd=ROOT, check=False)
    (check,) = properties(junit.read_text())
    assert (done.returncode, check.state) == (0, "PASS") and check.node.partition(" ")[0] in ("one", "two")


def test_a_node_that_is_killed_costs_a_matrix_its_running_cells_alone(cluster: TwoNodes, tmp_path: Path) -> None:
    """Last: one node is gone after it. Four engines, two layouts each; V2 cannot serve with the back end cpu."""
    out = tmp_path / "matrix"
    sides = [word for side in ("--serving", "--reference") for word in (side, THIS)]
    several = ["--backend", "triton", "--backend", "cpu", "--runner", "v1", "--runner", "v2", "--known"]
    layouts = [word for layout in LAYOUTS for word in ("--layout", layout)]
    command = harness(cluster, out, "matrix", *sides, *several, *layouts)

    def results() -> list[dict]:
        return [line["result"] for line in jsonl.read(out / "matrix.jsonl") if "result" in line]

    def on(name: str) -> int:
        return sum(one["extra"]["node"].startswith(name) for one in results())

    assert within(600, lambda: on("two") > 0 or command.poll() is not None)
    assert on("two"), (tmp_path / "matrix.err").read_text()
    there = on("two")
    cluster.kill("two")
    command.wait()
    found = json.loads((out / "matrix.json").read_text())
    (lost,) = found["lost with a node, run again"]
    assert lost["node"].startswith("two (")
    assert f"{lost['cell']}: lost with {lost['node']}" in (out / "matrix.md").read_text()
    cells = {(one["setting"]["label"], one["layout"]): one for one in results()}
    assert len(cells) == 8
    assert {label for (label, _), one in cells.items() if one["error"]} == {"cpu v2 float32"}
    assert len(results()) <= 8 + len(LAYOUTS)
    assert on("two") >= there and on("one") >= 4
    assert within(60, lambda: not cluster.at_work())
    assert command.returncode == 3
