"""The tensors of a synthetic Gemma 3, each with values that a fault would show: nothing is left as the model's class makes it, and
no two channels are equal.

What is called a model here is transformers' `Gemma3ForConditionalGeneration` in float32.
"""

from __future__ import annotations

from harness.families.drawing import factors, stored
from harness.prompts.model_spec import ModelSpec


def draw(model, spec: ModelSpec) -> None:
    """Give every parameter and persistent buffer of ``model`` its values; equal specs give equal ones.

    Raises:
        ValueError: the model has a tensor that nothing is known of.
    """
    import torch

    generator = torch.Generator().manual_seed(spec.seed)
    with torch.no_grad():
        for name, tensor in sorted(stored(model)):
            tensor.copy_(_values(name, tensor.shape, spec, generator))


def _values(name: str, shape: tuple[int, ...], spec: ModelSpec, generator):
    """A norm of Gemma 3 multiplies by 1 and its weight; the vision tower's multiply by theirs."""
    import torch

    noise = torch.randn(shape, generator=generator)
    if len(shape) >= 2 or name.endswith(".bias"):
        return noise * spec.weight_std
    if name.endswith("norm.weight") and not name.startswith("model.vision_tower."):
        return factors(noise, generator) - 1
    if name.endswith(".weight"):
        return factors(noise, generator)
    raise ValueError(f"{name}: nothing says what a checkpoint holds here")
