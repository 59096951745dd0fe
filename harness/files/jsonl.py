"""Files of one JSON value a line, which grow while a run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.files.atomic import not_following


def append(path: Path, values: Iterable[Any]) -> None:
    """Add values to the end; makes the folder if need be. A symbolic link is not followed: it is an OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8", opener=not_following) as file:
        file.writelines(json.dumps(value) + "\n" for value in values)


def read(path: Path) -> list[Any]:
    """The values in their order, none if there is no file; a line that was cut off is left out."""
    values = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            values.append(json.loads(line))
        except ValueError:
            continue
    return values
