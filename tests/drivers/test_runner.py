"""An engine that serves with another model runner than it was asked for is an error, as a wrong back end is."""

import pytest

from harness.engines.vllm.releases import check_runner


@pytest.mark.parametrize(("asked", "found"), [("v1", "v1"), ("v2", "v2"), ("auto", "v1"), ("auto", "v2")])
def test_the_runner_that_was_asked_for(asked: str, found: str) -> None:
    check_runner(asked, found)


def test_another_runner() -> None:
    with pytest.raises(RuntimeError, match="the model runner v2 was asked for, and the engine serves with v1"):
        check_runner("v2", "v1")
