"""Every declared case under every setting; a declared divergence passes while it shows exactly that."""

from collections.abc import Callable, Iterator

import pytest

from cases.catalogue import DECLARED, DRAFTED_BY_MODEL, PIPELINED_INPUTS, entries
from harness.compare.setting import Setting
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

SLOW = {case.name for case in (*PIPELINED_INPUTS, *DRAFTED_BY_MODEL)}
"""Cases that start engines of their own, which slow tests of tests/engines/vllm do too."""


def each() -> Iterator:
    for case, setting in entries("cpu"):
        marks = [pytest.mark.slow] if case.name in SLOW else []
        yield pytest.param(case, setting, id=f"{case.name}-{setting.slug}", marks=marks)


@pytest.mark.parametrize(("case", "setting"), [*each()])
def test_case(session: Session, as_expected: Callable, harness_known: list, case: Case, setting: Setting) -> None:
    as_expected(verify(session, case, setting, [*harness_known, *DECLARED]))
