"""The document of a mutation matrix says of which schema it is, and no other is read."""

from __future__ import annotations

import json

import pytest

from harness.campaigns import mutation_matrix
from harness.campaigns.mutation_matrix import MutantOutcome

CAUGHT = MutantOutcome("window-plus-one", "a key too many", "v1 float32", "masks", 3, ["t9"], "they differ", "", 0.1)


def test_what_is_written_is_read() -> None:
    written = json.dumps(mutation_matrix.document([CAUGHT.to_dict()], "harness mutants", 36))
    assert mutation_matrix.read(written) == [CAUGHT.to_dict()]


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 0, "mutants": []}', '{"schema": "1", "mutants": []}'])
def test_another_schema_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"mutation-matrix\.json has schema"):
        mutation_matrix.read(text)
