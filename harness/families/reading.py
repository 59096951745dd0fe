"""The files of JSON of a checkpoint that exists already, read as what they are: somebody else's.

Every field that the harness or its verdicts depend on has a type and a range, so that a damaged file is named by its field
before anything is loaded. Other fields are left to the two sides, which both read them.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import UsageError
from harness.text import quoted

Size = Annotated[int, Field(ge=1, le=1 << 20)]
"""A number of channels, heads or tokens: the largest Gemma 4 has a context of 2**18 and a vocabulary of 2**18."""
Count = Annotated[int, Field(ge=0, le=1 << 20)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Token = Annotated[int, Field(ge=0, le=1 << 20)]
LARGEST = 4 << 20
"""Bytes of the largest file of JSON that is read as a configuration; those of Gemma 4 have 5 KiB."""
LARGEST_TOKENIZER = 256 << 20
"""Bytes; Gemma 4's tokenizer.json has 33 MiB."""


class Part(BaseModel):
    """A part of a configuration; strict, so that "8" and 8.0 and true are no integers."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


T = TypeVar("T", bound=Part)


def read(name: str, path: Path, schema: type[T], largest: int = LARGEST) -> T:
    """A configuration of the checkpoint ``name``, checked.

    Raises:
        UsageError: the file cannot be read, is no JSON object, or a field is not what it must be.
    """
    return checked(name, path.name, json_of(name, path, largest), schema)


def file_of(source: str, name: str) -> Path:
    """Where a file of a checkpoint is: in its directory, or in the hub's cache on this machine."""
    if Path(source).is_dir():
        return Path(source) / name
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, name)
    return Path(found) if isinstance(found, str) else Path(source) / name


def checked(name: str, file: str, data: dict, schema: type[T]) -> T:
    """``data`` as the schema has it; raises as `read`."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        given = (
            "" if first["type"] == "missing" or isinstance(first["input"], dict) else f", not {quoted(first['input'])}"
        )
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError("model", name, f"its {file}: {field}: {said}{given}") from None


def json_of(name: str, path: Path, largest: int = LARGEST) -> dict:
    """The JSON object in a file of the checkpoint ``name``; raises as `read`."""
    try:
        mode = path.stat()
        if not stat.S_ISREG(mode.st_mode):
            raise UsageError("model", name, f"its {path.name} is not a file")
        if mode.st_size > largest:
            raise UsageError("model", name, f"its {path.name} has {mode.st_size} bytes; at most {largest} are read")
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise UsageError("model", name, f"its {path.name} cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise UsageError("model", name, f"its {path.name} is nested too deeply") from None
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError("model", name, f"its {path.name} is not JSON in UTF-8: {quoted(str(error))}") from None
    if not isinstance(data, dict):
        raise UsageError("model", name, f"its {path.name} is not a JSON object")
    return data


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
