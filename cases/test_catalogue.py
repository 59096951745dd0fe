"""Every declared case under every setting; a declared divergence passes while it shows exactly that."""

from collections.abc import Callable

import pytest

from cases.catalogue import DECLARED, entries
from harness.compare.setting import Setting
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(("case", "setting"), [pytest.param(c, s, id=f"{c.name}-{s.slug}") for c, s in entries("cpu")])
def test_case(session: Session, as_expected: Callable, harness_known: list, case: Case, setting: Setting) -> None:
    as_expected(verify(session, case, setting, [*harness_known, *DECLARED]))
