"""References other than transformers are columns of the matrix as it is, really run. Skipped without their environments."""

from __future__ import annotations

import sys

import pytest

from cases import catalogue
from harness.campaigns.matrix import Plan, Table, run
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.verification.machines.processes import Processes
from tests.references.against import environment

FURTHER = {"official": "sliding clamp-both, full causal", "keras-hub": "sliding unclamped, full causal"}


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.official
@pytest.mark.keras_hub
@pytest.mark.skipif(
    not all(map(environment, FURTHER)),
    reason="a further reference has no environment here; `harness environments make official keras-hub`",
)
def test_each_is_a_column_with_its_policies_and_what_is_declared_of_it() -> None:
    names = {name: str(environment(name).python) for name in FURTHER}
    plan = Plan(
        (sys.executable,), (sys.executable, *names.values()), (Setting.of(runner="v1"),), ("t3 i12 t3",),
        tuple(catalogue.DECLARED),
    )  # fmt: skip
    table = Table.of(list(run(plan, preset("tiny"), Processes(1))), plan)
    (row,) = table.rows
    assert table.verdict(row, sys.executable) == Verdict.PASS
    for name, policies in FURTHER.items():
        assert table.verdict(row, names[name]).startswith("KNOWN"), table.cells[(*row, names[name])]
        assert table.referred(names[name]) == policies
