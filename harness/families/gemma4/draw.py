"""The tensors of a synthetic checkpoint, each with values that a fault would show: nothing is left as the model's class makes
it, nothing is 1 or 0, no two channels are equal, soft caps and clipping bounds are reached.

What is called a model here is transformers' `Gemma4ForConditionalGeneration` in float32.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.families.drawing import factors, stored
from harness.families.gemma4.prompts import POOL, mel_frames, patches
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Item

if TYPE_CHECKING:
    import torch

BOUNDS = ("input_min", "input_max", "output_min", "output_max")
FAINT = 1e-3
"""The last layer's scalar multiplies all that the final norm sees, which a norm takes back, but for its epsilon of 1e-6: at this
scale that is a tenth of the mean square, so that both the scalar and the epsilon count."""
CAPPED = 3.0
"""Standard deviations of the logits in one soft cap: the largest of a prompt lie beyond it."""
TAKEN, GIVEN = (0.02, 0.05), (0.06, 0.1)
"""The share of what a linear layer of a tower takes, or gives, that lies beyond each of its bounds. Where nothing but an activation
is between two layers, the larger share of what is given makes the bound of what is taken the same one."""
NOISE = 24
"""Soft tokens of the picture and the sound that the bounds are taken from."""


def draw(model, spec: ModelSpec) -> None:
    """Give every parameter and persistent buffer of ``model`` its values; equal specs give equal ones.

    Raises:
        ValueError: the model has a buffer that nothing is known of.
    """
    import torch

    generator = torch.Generator().manual_seed(spec.seed)
    with torch.no_grad():
        for name, tensor in sorted(stored(model)):
            if not name.endswith(BOUNDS):
                tensor.copy_(_values(name, tensor.shape, spec, generator))
        if spec.clipped:
            _draw_bounds(model, spec, generator)


def drawn(name: str, shape: Sequence[int], spec: ModelSpec) -> torch.Tensor:
    """The values, float32, of the tensor ``name`` alone, which has a generator of its own: so a checkpoint can be drawn tensor by
    tensor, in any order. Clipping bounds are those of `bounds`."""
    import torch

    generator = torch.Generator().manual_seed(zlib.crc32(f"{spec.seed} {name}".encode()))
    return _values(name, tuple(shape), spec, generator)


def bounds(small: Callable[[ModelSpec], Any], spec: ModelSpec) -> dict[str, torch.Tensor]:
    """The clipping bounds, by name, of a model whose other tensors are `drawn`; none where towers are not clipped.
    ``small(spec)`` makes a model in float32, which here has the same towers and hardly a decoder."""
    import torch

    if not spec.clipped:
        return {}
    model = small(
        replace(
            spec, layers="sf", hidden=64, intermediate=64, vocab=64, moe=None, per_layer_input=0, kv_shared_layers=0
        )
    )
    towers = [(name, tensor) for name, tensor in sorted(stored(model)) if "_tower." in name]
    with torch.no_grad():
        for name, tensor in towers:
            if not name.endswith(BOUNDS):
                tensor.copy_(drawn(name, tensor.shape, spec))
        _draw_bounds(model, spec, torch.Generator().manual_seed(spec.seed))
    return {name: tensor for name, tensor in towers if name.endswith(BOUNDS)}


def shared(spec: ModelSpec) -> dict:
    """The tensors of layers that take keys and values from an earlier one."""
    import torch

    generator = torch.Generator().manual_seed(spec.seed + 1)
    return {name: _values(name, shape, spec, generator) for name, shape in shapes_of_shared(spec).items()}


def shapes_of_shared(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """By name the shapes of the tensors of layers that take keys and values from an earlier one. The published checkpoints hold
    them, as releases of transformers until 5.5 expect; no later one and no release of vLLM loads them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(len(spec.layers) - spec.kv_shared_layers, len(spec.layers)):
        sliding = spec.layers[index] == "s"
        heads, size = (spec.kv_heads, spec.head_dim) if sliding else (spec.global_kv_heads, spec.global_head_dim)
        of_layer: dict[str, tuple[int, ...]] = {
            "k_norm": (size,), "k_proj": (heads * size, spec.hidden), "v_proj": (heads * size, spec.hidden),
        }  # fmt: skip
        if spec.k_eq_v and not sliding:
            del of_layer["v_proj"]
        for part, shape in of_layer.items():
            shapes[f"model.language_model.layers.{index}.self_attn.{part}.weight"] = shape
    return shapes


def _values(name: str, shape: tuple[int, ...], spec: ModelSpec, generator):
    import torch

    noise = torch.randn(shape, generator=generator)
    if name.endswith("std_bias"):
        return noise * math.sqrt(shape[0])
    if len(shape) >= 2 or name.endswith(".bias"):
        return noise.mul_(spec.weight_std)
    if name.endswith("layer_scalar"):
        last = f".layers.{len(spec.layers) - 1}." in name
        return factors(noise, generator) * (FAINT if last else 1.0)
    if name.endswith(("std_scale", ".weight", ".scale", "per_expert_scale", "per_dim_scale")):
        return factors(noise, generator) * _scale(name, shape[0], spec)
    raise ValueError(f"{name}: nothing says what a checkpoint holds here")


def _scale(name: str, channels: int, spec: ModelSpec) -> float:
    """Gemma 4 does not scale its attention scores, so the weights of the norms of query and key give them the standard
    deviation 1; at 1 they would have the square root of the head size, a softmax of almost one key, and
    rounding errors as large as the logits in 16 bits. The weight of the final norm lets the logits reach their soft cap."""
    if "language_model" in name and name.endswith(("q_norm.weight", "k_norm.weight")):
        return channels**-0.25
    if name.endswith("language_model.norm.weight") and spec.softcap:
        return spec.softcap / (CAPPED * spec.weight_std * math.sqrt(spec.hidden))
    return 1.0


def _draw_bounds(model, spec: ModelSpec, generator) -> None:
    """Clipping bounds, from what the towers make of a picture and a sound of noise, layer by layer. They are exact in 16 bits."""
    import torch
    from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

    def bound(values, least, most, shares) -> None:
        low, high = (shares[0] + (shares[1] - shares[0]) * torch.rand(2, generator=generator)).tolist()
        for buffer, share in ((least, low), (most, 1.0 - high)):
            buffer.copy_(values.flatten().quantile(share).to(torch.bfloat16))

    def taken(layer, args) -> None:
        bound(args[0], layer.input_min, layer.input_max, TAKEN)

    def given(layer, linear, args, output) -> None:
        bound(output, layer.output_min, layer.output_max, GIVEN)

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, Gemma4ClippableLinear):
                hooks.callback(module.register_forward_pre_hook(taken).remove)
                hooks.callback(module.linear.register_forward_hook(partial(given, module)).remove)
        pixels, places = (torch.from_numpy(array) for array in patches(_noise("image", spec)))
        assert pixels.shape[1] == NOISE * POOL**2
        model.model.vision_tower(pixels, places)
        if spec.audio:
            features, mask = (torch.from_numpy(array) for array in mel_frames(_noise("audio", spec)))
            model.model.audio_tower(features[None], mask[None])


def _noise(modality: str, spec: ModelSpec) -> Item:
    return Item(modality, 0, NOISE, tuple(range(NOISE)), soft=NOISE, frames=1, seed=spec.seed)
