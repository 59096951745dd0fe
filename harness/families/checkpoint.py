"""A checkpoint that exists already: a directory or an id of the Hugging Face hub.

What is meant is never guessed. ``DIR`` is a directory; ``ORG/NAME`` is an id whose files are in the hub's cache on this
machine, and nothing is asked of the network for it; ``hf:ORG/NAME`` says that the hub may be asked, unless HF_HUB_OFFLINE is
set. So a directory's name that is mistyped stays on this machine.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.errors import EnvironmentFailure, UsageError
from harness.families import weights
from harness.families.base import CAUSAL
from harness.families.reading import LARGEST_TOKENIZER, json_of
from harness.families.registry import FAMILIES, PRESETS, family_of, of_type, preset
from harness.prompts.model_spec import ModelSpec

HUB = "hf:"
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*(?<![.-])\Z", re.ASCII)
_LONGEST_ID = 96
"""Characters, as the hub has it."""
KNOWN = " or ".join(family.title for family in FAMILIES.values())
WAYS = f"a preset ({', '.join(PRESETS)}), a directory with a {KNOWN} checkpoint, or an id of the hub as {HUB}google/gemma-4-31B-it"


def model(name: str) -> ModelSpec:
    """The preset of this name, or what the config.json of a given checkpoint says.

    Raises:
        UsageError: it is neither, of no family that is known, or damaged.
        EnvironmentFailure: the hub could not be asked.
    """
    if name.removesuffix(CAUSAL) in PRESETS:
        return preset(name)
    if name.startswith(HUB):
        return _from_hub(name, name.removeprefix(HUB), ask=True)
    directory = Path(name)
    try:
        there = directory.is_dir()
        other = not there and (directory.exists() or directory.is_symlink())
    except (OSError, ValueError):
        raise UsageError("model", name, WAYS) from None
    if there:
        return _from_directory(name, directory)
    if other or not _is_id(name):
        raise UsageError("model", name, WAYS)
    return _from_hub(name, name, ask=False)


def _is_id(name: str) -> bool:
    return len(name) <= _LONGEST_ID and _HUB_ID.match(name) is not None


def _from_directory(name: str, directory: Path) -> ModelSpec:
    if not os.path.lexists(directory / "config.json"):
        raise UsageError("model", name, f"{WAYS}; this directory has no config.json")
    spec = _spec(name, json_of(name, directory / "config.json"), str(directory.absolute()))
    weights.check(name, directory)
    json_of(name, directory / "tokenizer.json", LARGEST_TOKENIZER)
    family_of(spec).pictures(spec)
    return spec


def _from_hub(name: str, hub_id: str, *, ask: bool) -> ModelSpec:
    if not _is_id(hub_id):
        raise UsageError(
            "model", name, f"ORG/NAME after {HUB}, each of letters, digits, '-', '_' and '.', 96 characters at most"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise EnvironmentFailure(f"{name}: huggingface_hub is not installed for this interpreter") from None
    offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
    try:
        path = Path(hf_hub_download(hub_id, "config.json", local_files_only=offline or not ask))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        if not ask:
            meant = f"; the hub's cache here has no such id, and {HUB}{name} asks the hub"
            raise UsageError("model", name, f"{WAYS}: there is no such directory{meant}") from None
        why = "HF_HUB_OFFLINE is set, and it is not in the cache" if offline else type(error).__name__
        raise EnvironmentFailure(f"{name}: its config.json could not be had from the hub ({why})") from None
    return _spec(name, json_of(name, path), hub_id)


def asks_hub(name: str) -> bool:
    """Whether the hub may be asked for this checkpoint."""
    return name.startswith(HUB)


def _spec(name: str, data: dict, source: str) -> ModelSpec:
    family = of_type(str(data.get("model_type")))
    if family is None:
        raise UsageError("model", name, f"a {KNOWN} checkpoint; its config.json says {data.get('model_type')!r}")
    return family.spec_of(name, data, source)
