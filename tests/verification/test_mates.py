"""Requests that are served before or beside others, as they are written."""

import pytest

from harness.errors import UsageError
from harness.verification.mates import parsed, with_other_pictures


@pytest.mark.parametrize(
    ("layout", "request_"), [("t3 i5", "t3 i5 pictures=1"), ("v2x3", "v2x3 pictures=1"), ("t62", "t62")]
)
def test_other_pictures_are_asked_for_where_there_are_any(layout: str, request_: str) -> None:
    assert with_other_pictures(layout) == request_
    assert str(parsed(request_)) == request_


def test_a_text_has_no_other_pictures() -> None:
    with pytest.raises(UsageError, match="pictures=N draws pictures, and this layout has none"):
        parsed("t62 pictures=1", "before")
