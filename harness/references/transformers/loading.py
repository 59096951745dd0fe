"""Loading a checkpoint with transformers, in the serving dtype and, as truth, one precision up: whole or not at all."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch

from harness.captures import facts
from harness.captures.facts import AfterModel, Facts, HeadFacts, Held
from harness.drivers import checksum
from harness.drivers.messages import ReferenceModel
from harness.errors import CheckpointError
from harness.families import adapter
from harness.families.base import ReferenceSide
from harness.families.content import Unchanged, content
from harness.families.registry import of_type
from harness.references.transformers import memory, routing
from harness.references.transformers.offloading import Offloaded, keys, renamed, skeleton
from harness.references.transformers.stored import Stored
from harness.text import listed

SPECIAL = ("boi", "eoi", "image", "video", "boa", "eoa", "audio")
TRUTH = {"float32": torch.float64, "bfloat16": torch.float32, "float16": torch.float32}
PROCESSORS = {
    "begin_suppress_tokens": None, "bad_words_ids": None, "sequence_bias": None, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0,
    "min_new_tokens": None, "exponential_decay_length_penalty": None,
}  # fmt: skip
"""What else a generation_config.json may do to logits, with the values that do nothing. It depends on what was generated
before, so neither side does it to the logits of a prompt."""


@dataclass(frozen=True)
class Loaded:
    """What was asked for, ``of``, and the ``facts`` that are the same in all its captures. Where the models' decoder layers are
    ``offloaded``, they have no weights but while they are run."""

    of: ReferenceModel
    family: ReferenceSide
    dtype: torch.dtype
    device: torch.device
    model: torch.nn.Module
    truth: torch.nn.Module
    routers: list
    routers_of_truth: list
    facts: Facts = field(repr=False)
    files: Unchanged
    offloaded: Offloaded | None = None


def load(of: ReferenceModel, device: str, told: Callable[[str], None] = lambda text: None) -> Loaded:
    """Load a checkpoint in both precisions; ``told`` hears how far that is.

    Raises:
        RuntimeError: its config.json names a model of no family.
        CheckpointError: tensors are missing, unexpected or of another shape, the two models do not hold the same, or a file was
            changed meanwhile.
    """

    checkpoint = of.checkpoint
    on, own = torch.device(device), getattr(torch, of.dtype)
    files = Unchanged.since_now(checkpoint)
    family = _family(checkpoint)
    offloaded = None
    if of.offload:
        model, truth, offloaded = _skeletons(of, own, on, family)
        weights, not_finite = _weights_by_layer(model, own, offloaded, told)
    else:
        model = _model(checkpoint, own, on, of.attention, family)
        truth = _model(checkpoint, TRUTH[of.dtype], on, "eager", family, experts_implementation="eager")
        weights, not_finite = _weights(model.state_dict(), own), _not_finite(model.state_dict())
        for name, rounded in _weights(truth.state_dict(), own).items():
            if (
                rounded != weights.get(name) and name not in not_finite
            ):  # a signalling NaN is another one after rounding
                raise CheckpointError(f"{checkpoint}: transformers loaded {name} twice and got two different tensors")
    for each in (model, truth) if of.adapted else ():
        adapter.adapt(each)
    text = model.config.get_text_config()
    of_all = Facts(
        layers=(),
        logits_at=(),
        versions={"transformers": _installed(), "reference torch": torch.__version__},
        seconds={},
        loaded=facts.Loaded(content(checkpoint), weights, not_finite),
        after=_after(model.generation_config),
        head=HeadFacts(text.final_logit_softcapping, 1.0, text.vocab_size),
        special=_special(model.config),
    )
    files.check()
    routers = routing.routers(model, family.router), routing.routers(truth, family.router)
    return Loaded(of, family, own, on, model, truth, *routers, of_all, files, offloaded)


def _special(config: Any) -> dict[str, int]:
    """The ids of tokens that mark what is no text, as far as the model has them; eoa's was called otherwise until 5.6."""
    found = {name: getattr(config, f"{name}_token_id", None) for name in SPECIAL}
    found["eoa"] = found["eoa"] if found["eoa"] is not None else getattr(config, "eoa_token_index", None)
    return {name: token for name, token in found.items() if token is not None}


def _skeletons(
    of: ReferenceModel, own: torch.dtype, on: torch.device, family: ReferenceSide
) -> tuple[torch.nn.Module, torch.nn.Module, Offloaded]:
    """Both models without their decoder layers' weights, and what loads those."""
    from transformers import GenerationConfig

    memory.give_back()
    config = family.model.config_class.from_pretrained(of.checkpoint)  # type: ignore[attr-defined]
    model = skeleton(copy.deepcopy(config), own, on, of.attention, family)
    exact = {"experts_implementation": "eager"}
    truth = skeleton(copy.deepcopy(config), TRUTH[of.dtype], on, "eager", family, **exact)
    with suppress(OSError):  # there need not be one
        model.generation_config = GenerationConfig.from_pretrained(of.checkpoint)
    stored = Stored(of.checkpoint)
    renamed(model, stored)
    check_keys(family, of.checkpoint, keys(model, stored), model.config)
    return model, truth, Offloaded(stored, family, {own: model, TRUTH[of.dtype]: truth}, on)


def _weights_by_layer(
    model: torch.nn.Module, dtype: torch.dtype, offloaded: Offloaded, told: Callable[[str], None]
) -> tuple[dict[str, Held], tuple[str, ...]]:
    """What `_weights` and `_not_finite` give, of a model whose decoder layers are not loaded."""
    inside = tuple(f"{name}." for name in offloaded.names)
    others = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(inside)}
    weights, not_finite = _weights(others, dtype), [*_not_finite(others)]
    for index, (name, layer) in enumerate(zip(offloaded.names, offloaded.layers_of(model), strict=True)):
        with offloaded.layer(index):
            own = {f"{name}.{key}": tensor for key, tensor in layer.state_dict().items()}
            weights |= _weights(own, dtype)
            not_finite += _not_finite(own)
        told(f"the reference has read {index + 1} of {len(offloaded)} layers")
    return {name: weights[name] for name in model.state_dict()}, tuple(not_finite)


def _installed() -> str:
    """The release of transformers; of a source tree with its commit, which its own `__version__` does not have."""
    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        import transformers

        return transformers.__version__


def _family(checkpoint: str) -> ReferenceSide:
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(checkpoint)
    kind = str(config.get("model_type"))
    family = of_type(kind)
    if family is None:
        raise RuntimeError(f"{checkpoint}: no family has models of the type {kind!r}")
    return family.reference_side(kind)


def _model(
    checkpoint: str,
    dtype: torch.dtype,
    device: torch.device,
    implementation: str,
    family: ReferenceSide,
    **more: str,
) -> torch.nn.Module:
    model, info = family.model.from_pretrained(  # type: ignore[attr-defined]
        checkpoint,
        dtype=dtype,
        attn_implementation=implementation,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are named below
        use_safetensors=True,  # no pickle
        trust_remote_code=False,
        **more,
    )
    check_keys(family, checkpoint, info, model.config)
    family.prepare(model)
    return model.to(device, dtype).eval()


def check_keys(family: ReferenceSide, checkpoint: str, info: dict, config: object) -> None:
    """Refuse a checkpoint that is not exactly what the model needs, by transformers' loading info.

    Raises:
        CheckpointError: keys are missing, unexpected or mismatched; one line names them.
    """
    parts = family.of_config.items()
    absent = [prefix for name, prefixes in parts if getattr(config, name, None) is None for prefix in prefixes]
    passed_over = tuple(f"model.{prefix}" for prefix in (*family.passed_over, *absent))
    wrong = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(key for key in info["unexpected_keys"] if not key.startswith(passed_over)),
        "of another shape": [
            f"{key} {_shape(there)} instead of {_shape(needed)}"
            for key, there, needed in sorted(info["mismatched_keys"])
        ],
    }
    words = [f"{len(keys)} {what}: {listed(keys)}" for what, keys in wrong.items() if keys]
    words += [" ".join(str(message).split()) for message in info.get("error_msgs", ())]
    if words:
        raise CheckpointError(f"{checkpoint}: its tensors are not those of the model; {'; '.join(words)}")


def _shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _weights(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, Held]:
    """The number of elements and the checksum in ``dtype`` of each of the tensors that a checkpoint may fill."""
    return {name: (tensor.numel(), checksum.of(tensor, dtype)) for name, tensor in tensors.items()}


def _not_finite(tensors: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Tensors with values that are no numbers; each is looked at in parts, since there may be no room for a copy."""
    parts = {name: tensor.flatten().split(checksum.AT_ONCE) for name, tensor in tensors.items()}
    return tuple(name for name, some in parts.items() if not all(torch.isfinite(part).all() for part in some))


def _after(generation: object) -> AfterModel:
    """What generation does to logits after the model, as transformers reads it from generation_config.json."""
    read = {name: getattr(generation, name, None) for name in ("suppress_tokens", *PROCESSORS)}
    suppressed = tuple(sorted(set(read.pop("suppress_tokens") or ())))
    return AfterModel(
        suppressed, others=tuple(name for name, value in read.items() if value not in (None, PROCESSORS[name]))
    )
