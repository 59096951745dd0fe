"""How transformers' models are called: with a prompt's tokens and items, or with what its processor makes of a text."""

from __future__ import annotations

import torch

from harness.captures.facts import ProcessedFacts
from harness.prompts.prompt import Prompt
from harness.references.transformers.loading import Loaded
from harness.references.transformers.processing import processed


def arguments(loaded: Loaded, prompts: list[Prompt]) -> tuple[dict[str, torch.Tensor], ProcessedFacts | None]:
    """The arguments of the model for prompts that are run together, on its device, and what was processed of a text."""
    if prompts[0].text is not None:
        return processed(loaded, prompts[0])
    arguments = loaded.family.arguments([prompt.whole for prompt in prompts], loaded.model.config)
    return {name: tensor.to(loaded.device) for name, tensor in arguments.items()}, None


def forward(loaded: Loaded, model, arguments: dict, rows: torch.Tensor) -> torch.Tensor:
    """Logits (prompts, rows, V) of one of the loaded models at the positions ``rows``, on its device."""
    dtype = model.dtype
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in arguments.items()}
    return loaded.family.forward(model, given, rows)


def last_forward(loaded: Loaded, model: torch.nn.Module, arguments: dict) -> torch.Tensor:
    """The logits of the last token, and no others."""
    return forward(loaded, model, arguments, torch.tensor([-1], device=model.device))
