"""What a setting asks of this machine, these releases and this model, found before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from harness.captures.selection import LOGITS, MASKS
from harness.compare.setting import Setting
from harness.engines.adapter import Asked
from harness.errors import UsageError
from harness.families.dummy import check_memory
from harness.families.registry import family_of
from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec
from harness.references.adapter import REFERENCES, TRANSFORMERS, Reference
from harness.references.options import NO_CACHE
from harness.verification.environments import Release, Source, side
from harness.verification.interpreters import (
    AUDIO_READERS,
    OPENCV,
    engine_of,
    inspect,
    platform_of,
    reference_of,
)


def check(
    setting: Setting,
    spec: ModelSpec,
    python: str,
    reference_python: str,
    tokens: Sequence[int] = (),
    before: Sequence[int] = (),
    items: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Find what the engine or the worker would refuse when everything is loaded. ``tokens``, ``before`` and ``items`` are as
    `Asked` has them.

    Raises:
        UsageError: some value is not allowed.
        EnvironmentFailure: an interpreter lacks what its side needs.
    """
    options = setting.engine
    _check_reference(reference_of(reference_python), setting, spec)
    check_releases(spec, python, reference_python)
    engine, platform = engine_of(python), platform_of(python)
    asked = Asked(options, setting.scenario, setting.overlays, spec, tuple(tokens), tuple(before), items)
    engine.check(asked, python, platform, inspect(python))
    if platform == "cpu":
        check_memory(spec, options.dtype, offload=setting.reference.offload)
    _check_layers(setting, spec)
    _check_positions(setting, tokens)
    _check_observed(setting)


def check_attached(setting: Setting, spec: ModelSpec, reference_python: str, tokens: Sequence[int]) -> None:
    """As `check`, of a server that runs already: what the reference or a capture would refuse."""
    _check_reference(reference_of(reference_python), setting, spec)
    check_reference(spec, reference_python)
    _check_layers(setting, spec)
    _check_positions(setting, tokens)


def check_releases(spec: ModelSpec, python: str, reference_python: str) -> None:
    """Raise UsageError where the release of a side does not have the model."""
    check_reference(spec, reference_python)
    engine = engine_of(python)
    family_of(spec).check_release(spec, engine.name, engine.release(inspect(python)))


def check_reference(spec: ModelSpec, python: str) -> None:
    """Raise UsageError where the release of a reference does not have the model."""
    name = reference_of(python).distribution
    family_of(spec).check_release(spec, name, inspect(python)[name])


def check_named(text: str, setting: Setting, spec: ModelSpec) -> None:
    """Find what the reference that ``--reference`` names by ``text`` would refuse, before an environment is made for it.

    Raises:
        UsageError: it names none, or some value is not allowed with it.
        EnvironmentFailure: it is an interpreter that has none.
    """
    named = side(text, "reference")
    if isinstance(named, Release):
        found = REFERENCES[named.name]
    elif isinstance(named, Source):
        found = next(one for one in REFERENCES.values() if one.distribution == named.package.name)
    else:
        found = reference_of(named)
    _check_reference(found, setting, spec)


def _check_reference(reference: Reference, setting: Setting, spec: ModelSpec) -> None:
    options, of = setting.engine, setting.reference
    adapted = setting.scenario.adapted
    reference.check(of.reference, options.dtype, options.kv_dtype, spec, of.reference_cache, adapted=adapted)


def check_offload(setting: Setting, references: Sequence[str]) -> None:
    """Raise UsageError where a reference is to be loaded layer by layer and what is asked for cannot be had so; ``references`` are
    the interpreters."""
    if not setting.reference.offload:
        return
    if len(references) > 1:
        raise UsageError("reference-offload", "on", f"with one reference; {len(references)} are given")
    found = reference_of(references[0])
    if not found.offloads:
        raise UsageError(
            "reference-offload", "on", f"with a reference that is loaded layer by layer; {found.name} is not"
        )
    if setting.scenario.decode:
        why = "the reference's own decode, which serving's is compared with, runs all of its layers for each step"
        raise UsageError("decode", setting.scenario.decode, f"0 with --reference-offload: {why}")
    cache = setting.reference.reference_cache
    if cache != NO_CACHE:
        why = "generate runs all of the reference's layers"
        raise UsageError("reference-cache", cache, f"{NO_CACHE} with --reference-offload: {why}")


def check_decoders(case: Case, serving: str | None, references: Sequence[str]) -> None:
    """Raise UsageError where the interpreter of a side lacks what it reads the files of a case with; nobody knows
    that of a server, which is None."""
    transformers = [python for python in references if inspect(python)[TRANSFORMERS.distribution]]
    sides = [*([("serving", serving)] if serving else []), *(("reference", python) for python in transformers)]
    for named, python in sides if case.videos else ():
        if not any(inspect(python)[name] for name in OPENCV):
            why = f"the interpreter of --{named} has none of {', '.join(OPENCV)}, which both sides read a video with"
            raise UsageError("video", case.videos[0], f"left out: {why}")
    if serving and case.clips and case.chat and not any(inspect(serving)[name] for name in AUDIO_READERS):
        why = "vLLM reads the audio of a message with one of"
        lacks = f"{why} {', '.join(AUDIO_READERS)}, and the interpreter of --serving has none"
        raise UsageError("audio", case.clips[0], f"with a text that has a place for it, without --chat: {lacks}")


def _check_layers(setting: Setting, spec: ModelSpec) -> None:
    for index in setting.selection.layers:
        if not 0 <= index < len(spec.layers):
            raise UsageError("observe-layer", index, f"0 to {len(spec.layers) - 1}, the layers of {spec.name}")


def _check_positions(setting: Setting, tokens: Sequence[int]) -> None:
    for position in setting.selection.positions if tokens else ():
        if not -tokens[0] <= position < tokens[0]:
            raise UsageError("logits-at", position, f"-{tokens[0]} to {tokens[0] - 1}, the positions of this prompt")


def check_codes(setting: Setting) -> None:
    """Raise UsageError where masks are to be observed and the KV cache does not hold what they are read from."""
    if setting.selection.observe == MASKS and not setting.engine.holds_codes:
        why = "masks are read from codes in the place of keys, and four bits do not hold them"
        raise UsageError("kv-dtype", setting.engine.kv_dtype, f"with --observe logits: {why}")


def _check_observed(setting: Setting) -> None:
    selection = setting.selection
    check_codes(setting)
    if selection.observe == LOGITS and setting.scenario.speculate:
        why = "what is sampled at a draft that is thrown away is no logit of the prompt"
        raise UsageError("observe", LOGITS, f"masks with --speculate: {why}")
    if selection.observe == LOGITS and setting.scenario.prefix_caching and selection.positions != (-1,):
        why = "a request whose prompt the sampler scores does not read the prefix cache"
        raise UsageError("observe", LOGITS, f"masks with --prefix-caching, or --logits-at -1 beside it: {why}")
