"""Dataclasses are read from JSON as they were written, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.files import typed


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    number: int
    pair: tuple[int, int | None]


@dataclass(frozen=True)
class Outer:
    colour: Colour
    path: Path
    inner: Inner | None
    several: tuple[Inner, ...]
    named: dict[str, tuple[int, ...]]
    lists: list[list[int]]
    anything: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


INNER = st.builds(Inner, st.integers(), st.tuples(st.integers(), st.none() | st.integers()))
OUTER = st.builds(
    Outer,
    st.sampled_from(Colour),
    st.sampled_from([Path("/a/b"), Path("c")]),
    st.none() | INNER,
    st.lists(INNER).map(tuple),
    st.dictionaries(st.text(), st.lists(st.integers()).map(tuple)),
    st.lists(st.lists(st.integers())),
    st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.booleans())),
    st.none() | st.text(),
)


@given(OUTER)
def test_what_was_written_is_read(outer: Outer) -> None:
    assert typed.read(Outer, json.loads(typed.dumps(outer))) == outer


@pytest.mark.parametrize(
    "data",
    [
        {"number": 1},
        {"number": 1, "pair": [1, 2], "more": 3},
        [1, [1, 2]],
        None,
    ],
    ids=["a field is missing", "a field too many", "a list", "nothing"],
)
def test_what_is_not_such_a_dataclass_is_an_error(data: object) -> None:
    with pytest.raises(TypeError):
        typed.read(Inner, data)


def test_a_tuple_of_another_length_and_a_word_that_is_none_of_an_enum_are_errors() -> None:
    with pytest.raises(ValueError):
        typed.read(Colour, "green")

    @dataclass(frozen=True)
    class Paths:
        both: tuple[Path, Path]

    typed._reader.cache_clear()
    with pytest.raises(ValueError):
        typed._pieces([Path, Path])(["a"])


def test_what_is_no_dataclass_is_not_written() -> None:
    with pytest.raises(TypeError):
        typed.dumps({"value": object()})
