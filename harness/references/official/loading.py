"""Loading a checkpoint into the official model, in the serving dtype and, as truth, one precision up: whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from harness.captures.facts import Held
from harness.drivers import checksum
from harness.drivers.messages import ReferenceModel
from harness.families.content import Unchanged, content
from harness.references.official import config, names
from harness.references.official.names import Place, Sizes
from harness.references.prepared import TRUTH
from harness.references.tensors import TOWERS, refuse, refused, stored

Path_ = tuple[str, ...]
Parameters = dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """What was asked for, ``of``, the official `Transformer`, its parameters in both precisions, and what is told of them."""

    of: ReferenceModel
    model: Any
    parameters: Parameters = field(repr=False)
    truth: Parameters = field(repr=False)
    weights: dict[str, Held] = field(repr=False)
    not_finite: tuple[str, ...]
    content: str

    @property
    def config(self) -> Any:
        """The model's `TransformerConfig`."""
        return self.model.config


def load(of: ReferenceModel) -> Loaded:
    """Load a checkpoint twice.

    Raises:
        UsageError: the official model has no configuration for it.
        CheckpointError: tensors are missing, unexpected or of another shape, or a file was changed meanwhile.
    """
    files = Unchanged.since_now(of.checkpoint)
    whole = json.loads((Path(of.checkpoint) / "config.json").read_text(encoding="utf-8"))
    if whole.get("model_type") not in config.MODEL_TYPES:
        raise refused(config.NAME, "model_type", whole.get("model_type"), " or ".join(config.MODEL_TYPES))
    text = whole["text_config"]
    model = _model(config.fields(text))
    sizes = Sizes.of(text)
    tensors, places = {}, {}
    unexpected = []
    for name, array in stored(Path(of.checkpoint), "flax"):
        if name.startswith(TOWERS):
            continue
        tensor = np.asarray(array)  # bfloat16 as ml_dtypes has it
        found = names.place(name, sizes)
        if found is None:
            unexpected.append(name)
        else:
            tensors[name], places[name] = tensor, found
    arrays = _parameters(tensors, places)
    _check(of.checkpoint, arrays, _expected(model), unexpected, sizes)
    own, exact = (_in(arrays, dtype) for dtype in (of.dtype, TRUTH[of.dtype]))
    held = {name: one for name, one in places.items() if one.used}
    weights = {name: _held(own, one, tensors[name].shape) for name, one in held.items()}
    not_finite = tuple(name for name in held if not np.isfinite(tensors[name].astype(np.float32)).all())
    complete = Loaded(of, model, own, exact, weights, not_finite, content(of.checkpoint))
    files.check()
    return complete


def _model(fields: dict[str, Any]) -> Any:
    from gemma.gm.nn.gemma4 import _config, _modules, _transformer

    kinds = tuple(_modules.AttentionType[name] for name in fields.pop("attention_types"))
    shared = fields.pop("kv_cache_sharing_config")
    return _transformer.Transformer(
        config=_config.TransformerConfig(
            **fields,
            attention_types=kinds,
            kv_cache_sharing_config=shared and _config.KVCacheSharingConfig(**shared),
        ),
        tokens="tokens",
    )


def _parameters(tensors: Mapping[str, np.ndarray], places: Mapping[str, Place]) -> dict[Path_, np.ndarray]:
    """The parameters that tensors make; where one of two parts is missing, so is the parameter."""
    parts: dict[Path_, dict[int | None, np.ndarray]] = {}
    for name, one in places.items():
        parts.setdefault(one.path, {})[one.part] = one.put(tensors[name])
    return {
        path: made[None] if None in made else np.stack([made[0], made[1]])
        for path, made in parts.items()
        if None in made or {0, 1} <= set(made)
    }


def _expected(model: Any) -> dict[Path_, tuple[int, ...]]:
    """The shape of each parameter of the model."""
    from harness.references.official.running import forward

    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    made = jax.eval_shape(lambda tokens: model.init(jax.random.key(0), tokens, method=forward), tokens)
    return {
        tuple(step.key for step in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(made["params"])
    }


def _check(
    checkpoint: str,
    arrays: dict[Path_, np.ndarray],
    expected: Mapping[Path_, tuple[int, ...]],
    unexpected: list[str],
    sizes: Sizes,
) -> None:
    """Refuse what is not exactly the model's; fill in what it computes with and throws away, where a checkpoint lacks it."""
    for path, shape in expected.items():
        if path not in arrays and _thrown_away(path, sizes):
            arrays[path] = np.zeros(shape, np.float32)
    wrong = {
        "missing": [_said(path) for path in expected if path not in arrays],
        "unexpected": sorted([*unexpected, *(_said(path) for path in arrays if path not in expected)]),
        "of another shape": [
            f"{_said(path)} {arrays[path].shape} instead of {shape}"
            for path, shape in expected.items()
            if path in arrays and arrays[path].shape != shape
        ],
    }
    refuse(checkpoint, "the official", wrong)


def _thrown_away(path: Path_, sizes: Sizes) -> bool:
    """Keys and values of a layer that takes them from an earlier one (`_modules.py`, `kv_shared_cache`)."""
    layer = path[0].removeprefix("layer_")
    own = ("kv_einsum", "k_einsum", "key_norm")
    return layer.isdigit() and int(layer) >= sizes.first_shared and path[1] == "attn" and path[2] in own


def _in(arrays: Mapping[Path_, np.ndarray], dtype: str) -> Parameters:
    """The parameters in a dtype, nested as flax has them."""
    whole: Parameters = {}
    for path, array in arrays.items():
        inside = whole
        for step in path[:-1]:
            inside = inside.setdefault(step, {})
        inside[path[-1]] = jnp.asarray(array, dtype=dtype)
    return {"params": whole}


def _held(parameters: Parameters, one: Place, shape: tuple[int, ...]) -> Held:
    """The number of elements and the checksum of a tensor, out of what the model holds."""
    inside = parameters["params"]
    for step in one.path:
        inside = inside[step]
    array = one.taken(np.asarray(inside), shape)
    return array.size, checksum.of_bits(array)


def _said(path: Path_) -> str:
    return ".".join(path)
