"""A failure of the serving side that is declared is KNOWN; any other is an ERROR."""

from __future__ import annotations

import pytest

from harness.compare.known import Declared
from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.pipeline import verify_stream
from harness.verification.session import Session
from harness.verification.verify import verify

pytestmark = pytest.mark.engine

LONG = Case("long", "a prompt that is longer than the engine takes", "t20")
SHORT = Setting.of(runner="v1", arguments=(("max_model_len", "16"),))
MESSAGE = "reduce the length of the input prompt"
LINK = "https://github.com/vllm-project/vllm/issues/2"


@pytest.mark.parametrize(
    ("failure", "backends", "expected"),
    [
        (MESSAGE, ("triton",), Verdict.KNOWN),
        (MESSAGE, ("cpu",), Verdict.ERROR),
        pytest.param("out of memory", ("triton",), Verdict.ERROR, marks=pytest.mark.slow),
    ],
)
def test_a_failure(session: Session, failure: str, backends: tuple[str, ...], expected: Verdict) -> None:
    declared = Declared(failure=failure, link=LINK, reason="too long", backends=backends)
    result = verify(session, LONG, SHORT, [declared])
    assert result.verdict is expected
    assert (LINK in result.diagnosis) == (expected is Verdict.KNOWN)
    assert MESSAGE in result.error.message and result.error.log


@pytest.mark.slow
def test_it_is_known_in_a_stream_too(session: Session) -> None:
    declared = Declared(failure=MESSAGE, link=LINK, reason="too long", backends=("triton",))
    batches = [[Layout.parse(text)] for text in ("t3", LONG.layout, "t5")]
    streamed = verify_stream(session, batches, SHORT, preset("tiny"), [declared])
    assert [result.verdict for results in streamed for result in results] == [Verdict.PASS, Verdict.KNOWN, Verdict.PASS]
