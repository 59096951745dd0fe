"""Dataclasses as JSON and back, by their type hints. Python itself is all that it needs: every interpreter has that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any] | None
"""Makes a value of a type from JSON's; none where the two are the same."""
PLAIN = (str, int, float, bool, Any)


def dumps(value: object, *, sort_keys: bool = False) -> str:
    """JSON in one line. The fields of dataclasses are not copied one by one: prompts have thousands of tokens.

    Raises:
        TypeError: a value is neither JSON's, nor a dataclass, nor a path.
    """
    return json.dumps(value, default=_fields, sort_keys=sort_keys)


def read(cls: type[T], data: Any) -> T:
    """The instance of a dataclass whose JSON was read as ``data``.

    Raises:
        TypeError: a field is missing, or there is one that the dataclass has not, or a hint is none that is understood.
    """
    hint: Any = cls
    reader = _reader(hint)
    return reader(data) if reader else data


def _fields(value: object) -> object:
    return str(value) if isinstance(value, Path) else vars(value)


@cache
def _reader(hint: Any) -> Reader:
    origin, of = get_origin(hint), get_args(hint)
    if hint in PLAIN:
        return None
    if is_dataclass(hint) and isinstance(hint, type):
        return _instance(hint)
    if isinstance(hint, type) and issubclass(hint, (Path, Enum)):
        return hint
    if origin in (Union, UnionType):
        return _optional(*(each for each in of if each is not NoneType))
    if origin is tuple and of[-1] is not Ellipsis:
        return _pieces([_reader(each) for each in of])
    if origin in (tuple, list):
        return _sequence(origin, _reader(of[0]))
    if origin is dict and of[0] is str:
        return _mapping(_reader(of[1]))
    raise TypeError(f"nothing says how a {hint} is read from JSON")


def _instance(cls: type) -> Reader:
    hints = get_type_hints(cls)
    readers = {field.name: reader for field in fields(cls) if (reader := _reader(hints[field.name]))}

    def instance(data: dict[str, Any]) -> Any:
        if not isinstance(data, dict):
            raise TypeError(f"{cls.__name__}: {data!r} has no fields")
        return cls(**{name: readers[name](value) if name in readers else value for name, value in data.items()})

    return instance


def _optional(hint: Any) -> Reader:
    reader = _reader(hint)
    return reader and (lambda value: None if value is None else reader(value))


def _pieces(readers: list[Reader]) -> Reader:
    if not any(readers):
        return tuple
    return lambda values: tuple(read(value) if read else value for read, value in zip(readers, values, strict=True))


def _sequence(kind: Callable[[Any], Any], reader: Reader) -> Reader:
    return (lambda values: kind(map(reader, values))) if reader else kind if kind is tuple else None


def _mapping(reader: Reader) -> Reader:
    return reader and (lambda values: {name: reader(value) for name, value in values.items()})
