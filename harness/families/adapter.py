"""A synthetic LoRA adapter: its values are drawn by the name and the shape of the matrix that each pair belongs to, so that both
sides have the same without being given it. They are bytes of a hash, times powers of two: no release of torch, no processor and no
dtype has others."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch

RANK = 4
SCALE = 2
"""What PEFT calls alpha / r: other than 1, so that a side that leaves it out is seen."""
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Of each decoder layer of the language model."""
_NAME = re.compile(rf"language_model\.layers\.\d+\.\w+\.({'|'.join(PROJECTIONS)})\Z")
STRENGTH = 0.25
"""The largest magnitude of B's values, about that of the weights of the synthetic checkpoints: one pair moves logits by far more
than the noise floor."""


def is_target(module: str) -> bool:
    """Whether the module of this name, as the checkpoint has it, is adapted."""
    return bool(_NAME.search(module))


def pair(module: str, outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A (RANK, inputs) and B (outputs, RANK) of a module, float32 with values that bfloat16 and float16 have too: odd multiples of
    a power of two, with at most eight bits."""
    near = 2.0 ** -round(math.log2(inputs) / 2)
    return _drawn(f"{module} A", RANK, inputs, near), _drawn(f"{module} B", outputs, RANK, STRENGTH)


def _drawn(name: str, rows: int, columns: int, largest: float) -> torch.Tensor:
    """Values (rows, columns) between plus and minus ``largest``, a power of two; none of them is 0."""
    drawn = hashlib.shake_256(name.encode()).digest(rows * columns)
    values = torch.tensor(list(drawn), dtype=torch.float32)
    return ((2 * values - 255) * (largest / 256)).reshape(rows, columns)


def shapes(checkpoint: str) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of each module of a checkpoint that is adapted, by its name.

    Raises:
        RuntimeError: it has none.
    """
    from safetensors import safe_open

    found = {}
    for path in sorted(Path(checkpoint).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no dict
                module = name.removesuffix(".weight")
                if module != name and is_target(module):
                    found[module] = tuple(file.get_slice(name).get_shape())
    if not found:
        raise RuntimeError(f"{checkpoint}: an adapter fits none of its tensors")
    return found


def write(directory: Path, shapes: Mapping[str, tuple[int, int]]) -> Path:
    """Write the adapter of modules with these ``shapes`` (outputs, inputs) as PEFT has it."""
    from safetensors.torch import save_file

    tensors = {}
    for module, (outputs, inputs) in shapes.items():
        a, b = pair(module, outputs, inputs)
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "adapter_model.safetensors")
    alpha = SCALE * RANK
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": alpha, "target_modules": list(PROJECTIONS), "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


def adapt(model: torch.nn.Module) -> None:
    """Let the linear modules of a model that are adapted add what their pair makes of their input.

    Raises:
        RuntimeError: it has none.
    """
    found = {name: module for name, module in model.named_modules() if is_target(name)}
    if not found:
        raise RuntimeError("an adapter fits no module of this model")
    for name, module in found.items():
        a, b = pair(name, module.out_features, module.in_features)
        module.register_forward_hook(_adding(a, b))


def _adding(a: torch.Tensor, b: torch.Tensor):
    def added(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        (inputs,) = args
        here = {"device": inputs.device, "dtype": inputs.dtype}
        return output + SCALE * ((inputs @ a.to(**here).T) @ b.to(**here).T)

    return added
