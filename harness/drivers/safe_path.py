"""Python that imports nothing from the working directory: there may be a downloaded checkpoint with a `torch.py` in it.

Python itself is all that this imports, so that it can run before anything else does.
"""

import os
import sys
from collections.abc import Iterable


def keep(*first: str) -> None:
    """Take the working directory off this process's path, and let no child put it back; ``first`` comes first on theirs."""
    meant = {*map(os.path.realpath, _absolute()), os.path.realpath(_own())}
    sys.path[:] = [
        entry
        for entry in sys.path
        if os.path.isabs(entry) and (not _is_here(entry) or os.path.realpath(entry) in meant)
    ]
    os.environ.update(environment(first))


def environment(first: Iterable[str] = ()) -> dict[str, str]:
    """The variables of a child: its ``-c`` and ``-m`` add no directory, and of PYTHONPATH it gets what is absolute."""
    paths = dict.fromkeys([*map(str, first), *_absolute()])
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


def _is_here(entry: str) -> bool:
    """``entry`` is the working directory; one that was removed is none."""
    try:
        return os.path.samefile(entry, os.curdir)
    except OSError:
        return False


def _absolute() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]


def _own() -> str:
    """The directory that has the package `harness`."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
