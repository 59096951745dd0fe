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
from harness.families import beside, weights
from harness.families.base import CAUSAL, Family
from harness.families.dummy import dummy
from harness.families.reading import file_of, json_of
from harness.families.registry import FAMILIES, PRESETS, PUBLISHED, family_of, of_type, preset
from harness.prompts.model_spec import ModelSpec
from harness.text import quoted

HUB = "hf:"
DUMMY = "dummy"
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*(?<![.-])\Z", re.ASCII)
_LONGEST_ID = 96
"""Characters, as the hub has it."""
KNOWN = " or ".join(family.title for family in FAMILIES.values())
WAYS = f"a preset ({', '.join(PRESETS)}), a directory with a {KNOWN} checkpoint, or an id of the hub as {HUB}google/gemma-4-31B-it"


def model(name: str, weights: str | None = None, layers: int | None = None) -> ModelSpec:
    """The preset of this name, or what the config.json of a given checkpoint says. With ``weights`` "dummy" the shape of it, or of
    a published model, with weights that are drawn, cut to its first ``layers``.

    Raises:
        UsageError: it is neither, of no family that is known, or damaged.
        EnvironmentFailure: the hub could not be asked.
    """
    if weights == DUMMY:
        return _dummy(name, layers)
    if weights is not None:
        raise UsageError("weights", weights, f"{DUMMY}, or leave it out for those of the checkpoint")
    if layers is not None:
        raise UsageError("layers", layers, f"with --weights {DUMMY} alone: a checkpoint is served as it is")
    if name in PUBLISHED:
        ways = f"--weights {DUMMY} with it, for weights that are drawn; a checkpoint is a directory, or {HUB}ORG/NAME"
        raise UsageError("model", name, ways)
    spec = _model(name)
    if spec.source:
        beside.check_unquantized(name, spec.source)
        beside.check_suppressed("model", name, spec.source, spec.vocab)
    return spec


def _dummy(name: str, layers: int | None) -> ModelSpec:
    if name in PUBLISHED:
        return dummy(PUBLISHED[name], name, layers)
    if name.removesuffix(CAUSAL) in PRESETS:
        return dummy(preset(name), name, layers)
    config = Path(name) / "config.json"
    if os.path.lexists(config):
        data = json_of(name, config)
        return dummy(_family(name, data).shape_of(name, data), str(Path(name).absolute()), layers)
    given = _model(name)
    data = json_of(name, file_of(given.source, "config.json"))
    return dummy(_family(name, data).shape_of(name, data), name, layers)


def _model(name: str) -> ModelSpec:
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
    if other or not is_id(name):
        raise UsageError("model", name, WAYS)
    return _from_hub(name, name, ask=False)


def is_id(name: str) -> bool:
    """Whether this names a repository of the hub."""
    return len(name) <= _LONGEST_ID and _HUB_ID.match(name) is not None


def _from_directory(name: str, directory: Path) -> ModelSpec:
    if not os.path.lexists(directory / "config.json"):
        raise UsageError("model", name, f"{WAYS}; this directory has no config.json")
    spec = _spec(name, json_of(name, directory / "config.json"), str(directory.absolute()))
    weights.check(name, directory)
    beside.check(name, directory)
    family_of(spec).pictures(spec)
    return spec


def _from_hub(name: str, hub_id: str, *, ask: bool) -> ModelSpec:
    if not is_id(hub_id):
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
    return _family(name, data).spec_of(name, data, source)


def _family(name: str, data: dict) -> Family:
    family = of_type(str(data.get("model_type")))
    if family is None:
        raise UsageError("model", name, f"a {KNOWN} checkpoint; its config.json says {data.get('model_type')!r}")
    named = data.get("architectures")
    if named not in (None, [family.model_class]):
        why = f"[{family.model_class!r}], the one model that both sides compute, not {quoted(named)}"
        raise UsageError("model", name, f"its config.json: architectures: {why}")
    return family
