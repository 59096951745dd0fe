"""Every declared case under every setting; a declared divergence passes while it shows exactly that."""

from collections.abc import Callable, Iterator

import pytest

from cases.catalogue import (
    CPU_ATTN,
    DECLARED,
    DRAFTED,
    DRAFTED_BY_MODEL,
    ON_CPU,
    PIPELINED,
    PIPELINED_INPUTS,
    V2,
    entries,
)
from harness.compare.setting import Setting
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

OWN_ENGINE = (*PIPELINED, *PIPELINED_INPUTS, *DRAFTED, *DRAFTED_BY_MODEL)
"""Cases that start engines of their own, which tests of cases/test_life.py and tests/engines/vllm do too."""
LARGER = [case for case in ON_CPU if case.model == "gemma3-4b-small"]
SLOW = {case.name for case in (*OWN_ENGINE, *LARGER)}


def each() -> Iterator:
    """All that `make report` runs. Unless slow tests are asked for, other models than tiny are served by the V1 runner alone: each
    model and setting is an engine."""
    for case, setting in entries("cpu"):
        slow = case.name in SLOW or (case.model != "tiny" and setting in (V2, CPU_ATTN))
        yield pytest.param(case, setting, id=f"{case.name}-{setting.slug}", marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("case", "setting"), [*each()])
def test_case(session: Session, as_expected: Callable, harness_known: list, case: Case, setting: Setting) -> None:
    as_expected(verify(session, case, setting, [*harness_known, *DECLARED]))
