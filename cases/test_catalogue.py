"""Every declared case under every setting; a declared divergence passes while it shows exactly that."""

import pytest

from cases.catalogue import DECLARED, entries
from harness.compare import failure
from harness.compare.setting import Setting
from harness.prompts.case import Case
from harness.report.parts import Recorder
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("case", "setting"), [pytest.param(c, s, id=f"{c.name}-{s.slug}") for c, s in entries("cpu")]
)
def test_case(session: Session, recorded: Recorder, case: Case, setting: Setting) -> None:
    result = verify(session, case, setting, DECLARED)
    recorded.append(result)
    if not result.verdict.as_expected:
        pytest.fail(failure.text(result), pytrace=False)
