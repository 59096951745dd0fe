"""Loading a checkpoint by keras-hub's own converter, in the serving dtype and, as truth, one precision up: whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.captures.facts import Held
from harness.drivers import checksum
from harness.drivers.messages import ReferenceModel
from harness.errors import CheckpointError
from harness.families.content import Unchanged, content
from harness.references.keras_hub import config, precision
from harness.references.prepared import TRUTH
from harness.references.tensors import TOWERS, refuse, stored

Hook = Callable[[np.ndarray, list[int]], np.ndarray]
"""What the converter makes of a tensor for a variable of a shape: its elements in another order, or some of them."""


@dataclass(frozen=True)
class Loaded:
    """What was asked for, ``of``, its ``text`` configuration, keras-hub's model in both precisions, and what is told of them."""

    of: ReferenceModel
    text: dict[str, Any]
    model: Any = field(repr=False)
    truth: Any = field(repr=False)
    weights: dict[str, Held] = field(repr=False)
    not_finite: tuple[str, ...]
    content: str


@dataclass
class Loader:
    """Gives the converter the ``tensors`` that it asks for, as keras-hub's `SafetensorLoader` does, and keeps account: to which
    variables each of them went, and what was wrong."""

    tensors: Mapping[str, np.ndarray]
    ported: dict[str, list[tuple[Any, Hook]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    def get_tensor(self, hf_weight_key: str) -> np.ndarray:
        return self.tensors[hf_weight_key]

    def port_weight(self, keras_variable: Any, hf_weight_key: str, hook_fn: Hook | None = None) -> None:
        hook, shape = hook_fn or _as_it_is, list(keras_variable.shape)
        if hf_weight_key not in self.tensors:
            self.missing.append(hf_weight_key)
            return
        self.ported.setdefault(hf_weight_key, []).append((keras_variable, hook))
        tensor = self.tensors[hf_weight_key]
        try:
            value = hook(tensor, shape)
        except ValueError:  # it cannot be reshaped or transposed like that
            value = tensor
        if list(value.shape) != shape:
            self.misshapen.append(f"{hf_weight_key} {tensor.shape} for {keras_variable.path} {tuple(shape)}")
        else:
            keras_variable.assign(value)

    def held(self, dtype: torch.dtype) -> dict[str, Held]:
        """The number of elements and the checksum of each tensor, out of the variables that hold it.

        Raises:
            CheckpointError: elements of a tensor went nowhere.
        """
        return {name: self._held(name, places, dtype) for name, places in self.ported.items()}

    def _held(self, name: str, places: list[tuple[Any, Hook]], dtype: torch.dtype) -> Held:
        """Where an element went is told by what the converter does to numbers that count them."""
        tensor = self.tensors[name]
        numbers = np.arange(tensor.size).reshape(tensor.shape)
        whole, found = torch.empty(tensor.size, dtype=dtype), np.zeros(tensor.size, dtype=bool)
        for variable, hook in places:
            order = hook(numbers, list(variable.shape)).reshape(-1)
            found[order] = True
            whole[torch.from_numpy(np.ascontiguousarray(order))] = variable.value.detach().cpu().reshape(-1)
        if not found.all():
            raise CheckpointError(
                f"{int((~found).sum())} of the {tensor.size} elements of {name} are in no variable of keras-hub"
            )
        return tensor.size, checksum.of(whole.reshape(tensor.shape), dtype)


def load(of: ReferenceModel) -> Loaded:
    """Load a checkpoint twice.

    Raises:
        UsageError: keras-hub would not load it, or as another model.
        CheckpointError: tensors are missing, unexpected or of another shape, or a file was changed meanwhile.
    """
    files = Unchanged.since_now(of.checkpoint)
    whole = json.loads((Path(of.checkpoint) / "config.json").read_text(encoding="utf-8"))
    config.check(whole)
    text = whole["text_config"]
    tensors = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in stored(Path(of.checkpoint), "pt")
        if not name.startswith(TOWERS)
    }
    model, loader = _filled(of, whole, tensors, of.dtype)
    truth, _ = _filled(of, whole, tensors, TRUTH[of.dtype])
    weights = loader.held(getattr(torch, of.dtype))
    not_finite = tuple(name for name in weights if not np.isfinite(tensors[name]).all())
    loaded = Loaded(of, text, model, truth, weights, not_finite, content(of.checkpoint))
    files.check()
    return loaded


def _filled(
    of: ReferenceModel, whole: Mapping[str, Any], tensors: Mapping[str, np.ndarray], dtype: str
) -> tuple[Any, Loader]:
    """keras-hub's model in a dtype, with all ``tensors`` of the checkpoint in it."""
    from keras_hub.src.utils.transformers import convert_gemma4

    with precision.kept(dtype):
        model = _model(whole, dtype)
    if dtype == "float64":
        precision.widen_softmax(model)
    loader = Loader(tensors)
    convert_gemma4.convert_weights(_Decoder(model), loader, whole)
    unused = (name for name in tensors if name not in loader.ported and not _thrown_away(name, whole["text_config"]))
    filled = {id(variable) for places in loader.ported.values() for variable, _ in places}
    empty = [variable.path for variable in model.weights if id(variable) not in filled]
    wrong = {
        "missing": loader.missing or empty,
        "unexpected": sorted(unused),
        "of another shape": loader.misshapen,
    }
    refuse(of.checkpoint, "keras-hub's", wrong)
    return model, loader


class _Decoder:
    """What the converter is shown of a model: all but the stand-ins of its towers, which hold nothing."""

    vision_encoder = audio_encoder = None

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)


def _model(whole: Mapping[str, Any], dtype: str) -> Any:
    from keras_hub.src.models.gemma4.gemma4_backbone import Gemma4Backbone

    from harness.references.keras_hub import given

    arguments = config.decoder(whole)
    audio = given.Sounds(arguments["hidden_dim"], dtype=dtype) if whole.get("audio_config") else None
    arguments |= {"vision_encoder": given.Images(dtype=dtype), "audio_encoder": audio}
    return Gemma4Backbone(**arguments, dtype=dtype)


def _thrown_away(name: str, text: Mapping[str, Any]) -> bool:
    """Keys and values of a layer that takes them from an earlier one (`gemma4_attention.py`, `is_kv_shared_layer`)."""
    first = text["num_hidden_layers"] - (text.get("num_kv_shared_layers") or 0)
    _, _, own = name.partition("language_model.layers.")
    index, _, part = own.partition(".")
    parts = ("self_attn.k_proj.weight", "self_attn.v_proj.weight", "self_attn.k_norm.weight")
    return index.isdigit() and int(index) >= first and part in parts


def _as_it_is(tensor: np.ndarray, shape: list[int]) -> np.ndarray:
    return tensor
