"""Loading a checkpoint with transformers, in the serving dtype and, as truth, one precision up: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata

import torch

from harness.captures import facts
from harness.captures.facts import AfterModel, Facts, HeadFacts, Held
from harness.drivers import checksum
from harness.drivers.messages import ReferenceModel
from harness.errors import CheckpointError
from harness.families.base import ReferenceSide
from harness.families.content import content
from harness.families.registry import of_type
from harness.references.transformers import routing
from harness.text import listed

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
    """What was asked for, ``of``, and the ``facts`` that are the same in all its captures."""

    of: ReferenceModel
    family: ReferenceSide
    dtype: torch.dtype
    device: torch.device
    model: torch.nn.Module
    truth: torch.nn.Module
    routers: list
    routers_of_truth: list
    facts: Facts = field(repr=False)


def load(of: ReferenceModel, device: str) -> Loaded:
    """Load a checkpoint twice.

    Raises:
        RuntimeError: its config.json names a model of no family.
        CheckpointError: tensors are missing, unexpected or of another shape, or the two models do not hold the same.
    """

    checkpoint = of.checkpoint
    on, own = torch.device(device), getattr(torch, of.dtype)
    family = _family(checkpoint)
    model = _model(checkpoint, own, on, of.attention, family)
    truth = _model(checkpoint, TRUTH[of.dtype], on, "eager", family, experts_implementation="eager")
    weights, not_finite = _weights(model, own), _not_finite(model)
    for name, rounded in _weights(truth, own).items():
        if rounded != weights.get(name) and name not in not_finite:  # a signalling NaN is another one after rounding
            raise CheckpointError(f"{checkpoint}: transformers loaded {name} twice and got two different tensors")
    text = model.config.get_text_config()
    of_all = Facts(
        layers=(),
        logits_at=(),
        versions={"transformers": _installed(), "reference torch": torch.__version__},
        seconds={},
        loaded=facts.Loaded(content(checkpoint), weights, not_finite),
        after=_after(model.generation_config),
        head=HeadFacts(text.final_logit_softcapping, 1.0, text.vocab_size),
        special={name: getattr(model.config, f"{name}_token_id") for name in ("boi", "eoi", "image")},
    )
    routers = routing.routers(model, family.router), routing.routers(truth, family.router)
    return Loaded(of, family, own, on, model, truth, *routers, of_all)


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
    family = of_type(str(config.get("model_type")))
    if family is None:
        raise RuntimeError(f"{checkpoint}: no family has models of the type {config.get('model_type')!r}")
    return family.reference_side()


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


def _weights(model: torch.nn.Module, dtype: torch.dtype) -> dict[str, Held]:
    """The number of elements and the checksum in ``dtype`` of each tensor that a checkpoint may fill."""
    return {name: (tensor.numel(), checksum.of(tensor, dtype)) for name, tensor in model.state_dict().items()}


def _not_finite(model: torch.nn.Module) -> tuple[str, ...]:
    """Tensors with values that are no numbers; each is looked at in parts, since there may be no room for a copy."""
    parts = {name: tensor.flatten().split(checksum.AT_ONCE) for name, tensor in model.state_dict().items()}
    return tuple(name for name, some in parts.items() if not all(torch.isfinite(part).all() for part in some))


def _after(generation: object) -> AfterModel:
    """What generation does to logits after the model, as transformers reads it from generation_config.json."""
    read = {name: getattr(generation, name, None) for name in ("suppress_tokens", *PROCESSORS)}
    suppressed = tuple(sorted(set(read.pop("suppress_tokens") or ())))
    return AfterModel(
        suppressed, others=tuple(name for name, value in read.items() if value not in (None, PROCESSORS[name]))
    )
