"""A failure of the serving side that is declared is KNOWN; any other is an ERROR."""

from __future__ import annotations

import pytest

from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.gemma4.presets import preset
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.pipeline import verify_stream
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

SPLIT = Case("split", "an image split over two chunks attends a key that is not there yet", "t14 i2")
CHUNKED = Setting.of(runner="v1", chunk=16)
LINK = "https://github.com/vllm-project/vllm/issues/23969"


@pytest.mark.parametrize(
    ("failure", "backends", "expected"),
    [
        ("are not 1/|A|", ("triton",), Verdict.KNOWN),
        ("are not 1/|A|", ("cpu",), Verdict.ERROR),
        ("out of memory", ("triton",), Verdict.ERROR),
    ],
)
def test_a_failure(session: Session, failure: str, backends: tuple[str, ...], expected: Verdict) -> None:
    declared = Declared(failure=failure, link=LINK, reason="chunks split images", backends=backends)
    result = verify(session, SPLIT, CHUNKED, [declared])
    assert result.verdict is expected
    assert (LINK in result.diagnosis) == (expected is Verdict.KNOWN)
    assert "are not 1/|A|" in result.error.message and result.error.log


def test_it_is_known_in_a_stream_too(session: Session) -> None:
    declared = Declared(failure="are not 1/|A|", link=LINK, reason="chunks split images", backends=("triton",))
    batches = [[Layout.parse(text)] for text in ("t3", SPLIT.layout, "t5")]
    streamed = verify_stream(session, batches, CHUNKED, preset("tiny"), [declared])
    assert [result.verdict for results in streamed for result in results] == [Verdict.PASS, Verdict.KNOWN, Verdict.PASS]
