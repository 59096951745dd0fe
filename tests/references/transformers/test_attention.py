"""What the reference driver lets transformers' eager attention do otherwise does not change what it computes."""

import json

from tests.drivers.processes import printed

FLOAT64 = 1e-14
"""Some epsilons of float64, for sums in another order of values of about 1."""
FLOAT32 = 1e-6
"""Some epsilons of float32, to which eager attention rounds its weights."""


def test_eager_attention_by_rows_and_unrounded_is_eager_attention() -> None:
    far = json.loads(printed("tests.references.transformers.eager_attention"))
    assert far["by rows"] < FLOAT64 and far["unrounded by rows"] < FLOAT64
    assert FLOAT64 < far["unrounded"] < FLOAT32 and FLOAT64 < far["unmasked"] < FLOAT32
